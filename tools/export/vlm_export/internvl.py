"""InternVL in the Hugging Face layout: vision tower, pixel shuffle and projector as a vision program."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder, weights_of
from .cache import MOST_POSITIONS
from .checkpoint import Renamed
from .qwen2 import language_program

Weights = Mapping[str, np.ndarray]
ROPE_TYPES = ("default", "dynamic")  # dynamic angles are the default ones up to max_position_embeddings, where the tables end


def gelu(b: Builder, x: str) -> str:
    """The exact (erf) form."""
    inner = b.op("Erf", b.op("Mul", x, b.scalar(1 / math.sqrt(2))))
    return b.op("Mul", b.op("Mul", x, b.scalar(0.5)), b.op("Add", inner, b.scalar(1.0)))


def layer_norm(b: Builder, x: str, name: str, w: Weights, eps: float) -> str:
    scale, shift = b.weight(f"{name}.weight", w[f"{name}.weight"]), b.weight(f"{name}.bias", w[f"{name}.bias"])
    return b.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=eps)


def _rms(b: Builder, x: str, name: str, w: Weights, eps: float) -> str:
    mean = b.op("ReduceMean", b.op("Mul", x, x), axes=[-1], keepdims=1)
    return b.op("Mul", b.op("Div", x, b.op("Sqrt", b.op("Add", mean, b.scalar(eps)))), b.weight(f"{name}.weight", w[f"{name}.weight"]))


def _norm(b: Builder, x: str, name: str, w: Weights, config: Any) -> str:
    return (layer_norm if config.norm_type == "layer_norm" else _rms)(b, x, name, w, config.layer_norm_eps)


def _attention(b: Builder, x: str, p: str, w: Weights, config: Any) -> str:
    heads = config.num_attention_heads
    dim = config.hidden_size // heads
    def project(part: str) -> str:
        name = f"{p}attention.{part}_proj"
        y = b.linear(x, name, w[f"{name}.weight"], w.get(f"{name}.bias"))
        if config.use_qk_norm and part != "v":
            y = _rms(b, y, f"{p}attention.{part}_norm", w, 1e-6)
        return b.reshape(y, [0, 0, heads, dim])
    query = b.op("Transpose", project("q"), perm=[0, 2, 1, 3])
    keys = b.op("Transpose", project("k"), perm=[0, 2, 3, 1])
    values = b.op("Transpose", project("v"), perm=[0, 2, 1, 3])
    scores = b.op("MatMul", b.op("Mul", query, b.scalar(dim ** -0.5)), keys)
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), values)
    flat = b.reshape(b.op("Transpose", mixed, perm=[0, 2, 1, 3]), [0, 0, heads * dim])
    name = f"{p}attention.projection_layer"
    return b.linear(flat, name, w[f"{name}.weight"], w[f"{name}.bias"])


def vision_program(config: Any, vision: Weights, projector: Weights) -> onnx.ModelProto:
    """pixel_values [num_tiles, 3, S, S] -> vision_embeds [1, num_tiles * tokens, H]."""
    tower = config.vision_config
    size, patch, hidden = tower.image_size[0], tower.patch_size[0], tower.hidden_size
    side = size // patch
    factor = int(1 / config.downsample_ratio)
    b = Builder("vision")
    pixels = b.input("pixel_values", TensorProto.FLOAT, ["num_tiles", tower.num_channels, size, size])
    name = "embeddings.patch_embeddings.projection"
    x = b.op("Conv", pixels, b.weight(f"{name}.weight", vision[f"{name}.weight"]), b.weight(f"{name}.bias", vision[f"{name}.bias"]),
             kernel_shape=[patch, patch], strides=[patch, patch])
    x = b.op("Transpose", b.reshape(x, [0, hidden, side * side]), perm=[0, 2, 1])
    dims = b.op("Concat", b.dim(x, 0), b.const([1, hidden]), axis=0)
    x = b.op("Concat", b.op("Expand", b.weight("embeddings.cls_token", vision["embeddings.cls_token"]), dims), x, axis=1)
    if tower.use_absolute_position_embeddings:
        x = b.op("Add", x, b.weight("embeddings.position_embeddings", vision["embeddings.position_embeddings"]))
    for layer in range(tower.num_hidden_layers):
        p = f"encoder.layer.{layer}."
        attended = _attention(b, _norm(b, x, f"{p}layernorm_before", vision, tower), p, vision, tower)
        x = b.op("Add", b.op("Mul", attended, b.weight(f"{p}lambda_1", vision[f"{p}lambda_1"])), x)
        y = _norm(b, x, f"{p}layernorm_after", vision, tower)
        y = gelu(b, b.linear(y, f"{p}mlp.fc1", vision[f"{p}mlp.fc1.weight"], vision[f"{p}mlp.fc1.bias"]))
        y = b.linear(y, f"{p}mlp.fc2", vision[f"{p}mlp.fc2.weight"], vision[f"{p}mlp.fc2.bias"])
        x = b.op("Add", b.op("Mul", y, b.weight(f"{p}lambda_2", vision[f"{p}lambda_2"])), x)
    if not tower.use_mean_pooling:
        x = layer_norm(b, x, "layernorm", vision, tower.layer_norm_eps)
    x = b.op("Slice", x, b.const([1]), b.const([side * side + 1]), b.const([1]))
    # Pixel shuffle: factor x factor neighbours become channels, column offset inside row offset.
    out = side // factor
    x = b.op("Transpose", b.reshape(x, [0, out, factor, out, factor * hidden]), perm=[0, 1, 3, 2, 4])
    x = b.reshape(x, [0, out * out, factor * factor * hidden])
    x = layer_norm(b, x, "projector.layer_norm", {f"projector.{k}": v for k, v in projector.items()}, 1e-5)
    x = gelu(b, b.linear(x, "projector.linear_1", projector["linear_1.weight"], projector["linear_1.bias"]))
    x = b.linear(x, "projector.linear_2", projector["linear_2.weight"], projector["linear_2.bias"])
    x = b.op("Reshape", x, b.const([1, -1, config.text_config.hidden_size]), out="vision_embeds")
    b.output(x, "vision_embeds", TensorProto.FLOAT, [1, "vision_size", config.text_config.hidden_size])
    return b.model()


def unsupported(config: Any) -> str | None:
    """Why this architecture cannot be exported, from config.json alone; None when it can."""
    vision, text = config.vision_config, config.text_config
    size, patch = list(vision.image_size), list(vision.patch_size)
    rope = (text.rope_parameters or {}).get("rope_type", "default") if hasattr(text, "rope_parameters") else "default"
    factor = round(1 / config.downsample_ratio)
    checks = [
        (vision.model_type == "internvl_vision", f"the vision tower is {vision.model_type!r}, not 'internvl_vision'"),
        (text.model_type == "qwen2", f"the text model is {text.model_type!r}, not 'qwen2'"),
        (size[0] == size[1] and patch[0] == patch[1], f"tiles of {size} in patches of {patch} are not square"),
        (size[0] % patch[0] == 0, f"image_size {size[0]} is no whole number of patches of {patch[0]}"),
        (abs(factor * config.downsample_ratio - 1) < 1e-6 and size[0] // patch[0] % factor == 0, f"the patches of a tile cannot be joined by downsample_ratio {config.downsample_ratio}"),
        (vision.hidden_act == "gelu", f"hidden_act of the vision tower is {vision.hidden_act!r}, not 'gelu'"),
        (vision.norm_type in ("layer_norm", "rms_norm"), f"norm_type is {vision.norm_type!r}, not layer_norm or rms_norm"),
        (config.vision_feature_layer == -1, f"vision_feature_layer is {config.vision_feature_layer}, not -1"),
        (config.vision_feature_select_strategy == "default", "vision_feature_select_strategy is not 'default'"),
        (config.projector_hidden_act == "gelu", f"projector_hidden_act is {config.projector_hidden_act!r}, not 'gelu'"),
        (text.hidden_act == "silu", f"hidden_act of the text model is {text.hidden_act!r}, not 'silu'"),
        (not getattr(text, "use_sliding_window", False), "use_sliding_window is set: attention would not be over the whole context"),
        (set(getattr(text, "layer_types", None) or ["full_attention"]) == {"full_attention"}, "layer_types names others than full_attention"),
        (0 < text.max_position_embeddings <= MOST_POSITIONS, f"max_position_embeddings {text.max_position_embeddings} is not from 1 to {MOST_POSITIONS}"),
        (rope in ROPE_TYPES, f"rope_type {rope!r} is not one of {', '.join(ROPE_TYPES)}"),
    ]
    return next((reason for holds, reason in checks if not holds), None)


def canonical(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names of every generation of checkpoint as today's state_dict: model.vision_tower.*, model.language_model.*, lm_head.*"""
    def rename(name: str) -> str:
        name = name.removeprefix("model.").replace("language_model.lm_head.", "lm_head.", 1).replace("language_model.model.", "language_model.", 1)
        return name if name.startswith("lm_head.") else f"model.{name}"
    return Renamed(state, rename)


def export(config: Any, state: Mapping[str, Any]) -> dict[str, onnx.ModelProto]:
    """Both programs of a model; `state` is keyed as any generation of InternVLForConditionalGeneration's checkpoints."""
    reason = unsupported(config)
    if reason is not None:
        raise ValueError(reason)
    state, text = canonical(state), config.text_config
    head = None if config.tie_word_embeddings else state["lm_head.weight"].float().numpy()
    return {
        "vision": vision_program(config, weights_of(state, "model.vision_tower."), weights_of(state, "model.multi_modal_projector.")),
        "language": language_program(text, weights_of(state, "model.language_model."), config.image_token_id, head),
    }

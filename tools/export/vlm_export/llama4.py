"""Llama 4 (Scout, Maverick): the vision program and the whole export.

pixel_values [tiles, 3, S, S] -> vision_embeds [tiles * tokens, H]: rank 2, tiles in the order of the prompt's patch tokens.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder, weights_of
from .cache import rotate
from .internvl import gelu, layer_norm
from .llama4_text import ROPE_TYPES, halves, language_program

Weights = Mapping[str, np.ndarray]
EPS = 1e-5  # of every LayerNorm of the tower: the reference leaves its `norm_eps` unused


def unsupported(config: Any) -> str | None:
    """Why this architecture cannot be exported, from config.json alone; None when it can."""
    vision, text = config.vision_config, config.text_config
    sizes = (vision.image_size, vision.patch_size)
    factor = round(1 / vision.pixel_shuffle_ratio)
    def whole() -> bool:
        return all(isinstance(n, int) for n in sizes) and sizes[0] % sizes[1] == 0
    checks = [
        (getattr(config, "quantization_config", None) is None, lambda: "the weights are quantized (quantization_config): use the bf16 checkpoint"),
        (vision.model_type == "llama4_vision_model", lambda: f"the vision tower is {vision.model_type!r}, not 'llama4_vision_model'"),
        (text.model_type == "llama4_text", lambda: f"the text model is {text.model_type!r}, not 'llama4_text'"),
        (whole(), lambda: f"image_size {sizes[0]} is no whole number of patches of {sizes[1]}"),
        (abs(factor * vision.pixel_shuffle_ratio - 1) < 1e-6, lambda: f"1 / pixel_shuffle_ratio is no whole number: {vision.pixel_shuffle_ratio}"),
        (whole() and (sizes[0] // sizes[1]) % factor == 0, lambda: "the patches of a tile cannot be shuffled by pixel_shuffle_ratio"),
        (vision.intermediate_size == vision.hidden_size * factor * factor,
         lambda: "intermediate_size of the vision tower is not hidden_size / pixel_shuffle_ratio²"),
        (vision.hidden_size // vision.num_attention_heads % 4 == 0, lambda: "the tower's head size is no multiple of 4: rows and columns take half each"),
        (text.hidden_act == "silu", lambda: f"hidden_act of the text model is {text.hidden_act!r}, not 'silu'"),
        (bool(text.attention_chunk_size) and text.attention_chunk_size > 0, lambda: "attention_chunk_size is not set"),
        (text.floor_scale >= 1 or not text.attn_temperature_tuning, lambda: f"floor_scale is {text.floor_scale}, less than 1"),
        (1 <= text.num_experts_per_tok <= text.num_local_experts or not text.moe_layers,
         lambda: f"num_experts_per_tok is {text.num_experts_per_tok} of {text.num_local_experts} experts"),
        (text.max_position_embeddings > 0, lambda: f"max_position_embeddings is {text.max_position_embeddings}"),
        (set(text.layer_types) <= {"chunked_attention", "full_attention"}, lambda: "layer_types names others than chunked_attention and full_attention"),
        (text.rope_parameters.get("rope_type", "default") in ROPE_TYPES,
         lambda: f"rope_type {text.rope_parameters.get('rope_type')!r} is not one of {', '.join(ROPE_TYPES)}"),
    ]
    return next((reason() for holds, reason in checks if not holds), None)


def _rope(tower: Any) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin [1, 1, P² + 1, D/2]: columns in the first half, rows in the second; the class token, the last, is not turned."""
    side = tower.image_size // tower.patch_size
    half = tower.hidden_size // tower.num_attention_heads // 2
    powers = np.arange(0, half, 2, dtype=np.float32)[: half // 2] / np.float32(half)
    freq = (1.0 / np.float32(tower.rope_parameters["rope_theta"]) ** powers).astype(np.float32)
    rows, columns = np.divmod(np.arange(side * side, dtype=np.int64), side)
    angles = np.concatenate([(axis + 1).astype(np.float32)[:, None] * freq for axis in (columns, rows)], axis=1)
    angles = np.concatenate([angles, np.zeros((1, angles.shape[1]), np.float32)])[None, None]
    return np.cos(angles), np.sin(angles)


def _attention(b: Builder, x: str, p: str, w: Weights, tower: Any, rope: tuple[str, str]) -> str:
    heads = tower.num_attention_heads
    dim = tower.hidden_size // heads
    def project(part: str) -> str:
        name = f"{p}self_attn.{part}_proj"
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        if part != "v":
            weight, bias = halves(weight, heads), halves(bias, heads)
        return b.op("Transpose", b.reshape(b.linear(x, name, weight, bias), [0, 0, heads, dim]), perm=[0, 2, 1, 3])
    query = b.op("Mul", rotate(b, project("q"), *rope), b.scalar(dim ** -0.5))
    scores = b.op("MatMul", query, b.op("Transpose", rotate(b, project("k"), *rope), perm=[0, 1, 3, 2]))
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), project("v"))
    flat = b.reshape(b.op("Transpose", mixed, perm=[0, 2, 1, 3]), [0, 0, heads * dim])
    name = f"{p}self_attn.o_proj"
    return b.linear(flat, name, w[f"{name}.weight"], w[f"{name}.bias"])


def _patches(b: Builder, pixels: str, w: Weights, tower: Any) -> str:
    """[tiles, 3, S, S] -> [tiles, P² + 1, D]; the reference unfolds and multiplies, which is a convolution."""
    patch, hidden = tower.patch_size, tower.hidden_size
    side = tower.image_size // patch
    name = "patch_embedding.linear.weight"
    kernel = w[name].reshape(hidden, tower.num_channels, patch, patch)
    x = b.op("Conv", pixels, b.weight(name, kernel), kernel_shape=[patch, patch], strides=[patch, patch])
    x = b.op("Transpose", b.reshape(x, [0, hidden, side * side]), perm=[0, 2, 1])
    dims = b.op("Concat", b.dim(x, 0), b.const([1, hidden]), axis=0)
    label = b.op("Expand", b.weight("class_embedding", w["class_embedding"].reshape(1, 1, hidden)), dims)
    x = b.op("Add", b.op("Concat", x, label, axis=1), b.weight("positional_embedding_vlm", w["positional_embedding_vlm"]))
    return layer_norm(b, x, "layernorm_pre", w, EPS)


def _shuffled(b: Builder, x: str, w: Weights, tower: Any) -> str:
    """[tiles, P² + 1, D] -> [tiles, tokens, O] without the class token: neighbours become channels, then the adapter."""
    factor, hidden = round(1 / tower.pixel_shuffle_ratio), tower.hidden_size
    side = tower.image_size // tower.patch_size
    out = side // factor
    x = b.op("Slice", x, b.const([0]), b.const([side * side]), b.const([1]))
    x = b.op("Transpose", b.reshape(x, [0, out, factor, out, factor * hidden]), perm=[0, 1, 3, 2, 4])
    x = b.reshape(x, [0, out * out, factor * factor * hidden])
    for part in ("fc1", "fc2"):
        name = f"vision_adapter.mlp.{part}"
        x = gelu(b, b.linear(x, name, w[f"{name}.weight"]))
    return x


def vision_program(config: Any, w: Weights, projector: Weights) -> onnx.ModelProto:
    tower, hidden = config.vision_config, config.text_config.hidden_size
    b = Builder("vision")
    pixels = b.input("pixel_values", TensorProto.FLOAT, ["max_num_tiles", tower.num_channels, tower.image_size, tower.image_size])
    x = _patches(b, pixels, w, tower)
    cos, sin = _rope(tower)
    rope = b.weight("rope.cos", cos, half=False), b.weight("rope.sin", sin, half=False)
    for layer in range(tower.num_hidden_layers):
        p = f"model.layers.{layer}."
        x = b.op("Add", x, _attention(b, layer_norm(b, x, f"{p}input_layernorm", w, EPS), p, w, tower, rope))
        y = layer_norm(b, x, f"{p}post_attention_layernorm", w, EPS)
        y = gelu(b, b.linear(y, f"{p}mlp.fc1", w[f"{p}mlp.fc1.weight"], w[f"{p}mlp.fc1.bias"]))
        x = b.op("Add", x, b.linear(y, f"{p}mlp.fc2", w[f"{p}mlp.fc2.weight"], w[f"{p}mlp.fc2.bias"]))
    x = _shuffled(b, layer_norm(b, x, "layernorm_post", w, EPS), w, tower)
    x = b.linear(x, "multi_modal_projector.linear_1", projector["linear_1.weight"])
    b.output(b.op("Reshape", x, b.const([-1, hidden]), out="vision_embeds"), "vision_embeds", TensorProto.FLOAT, ["vision_size", hidden])
    return b.model()


def export(config: Any, state: Mapping[str, Any], static: bool = False) -> dict[str, onnx.ModelProto]:
    """Both programs; `state` is keyed as Llama4ForConditionalGeneration's checkpoints. `static` as in language_program."""
    reason = unsupported(config)
    if reason is not None:
        raise ValueError(reason)
    text = config.text_config
    head = None if text.tie_word_embeddings else state["language_model.lm_head.weight"].float().numpy()
    return {
        "vision": vision_program(config, weights_of(state, "vision_model."), weights_of(state, "multi_modal_projector.")),
        "language": language_program(text, weights_of(state, "language_model.model."), config.image_token_id, head, static),
    }

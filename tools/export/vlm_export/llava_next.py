"""LLaVA-NeXT with a SigLIP tower and a Granite decoder (Granite Vision): both kinds of vision program.

Open (the default): pixel_values [tiles, 3, S, S] -> vision_embeds [tiles, P² + 1, H], each tile's rows and the newline row
behind them; whoever runs it takes the padding out and puts the newlines in, so images may have any size.
Packed: pixel_values [1, tiles, 3, S, S] -> vision_embeds [1, T, H] for one image size, as QEfficient exports it.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder, weights_of
from .cache import MOST_POSITIONS
from .checkpoint import Renamed
from .granite import language_program
from .internvl import gelu
from .siglip import ACTIVATIONS, hidden_states

Weights = Mapping[str, np.ndarray]
# The one size that QEfficient folds into its graphs: width, height.
PACKED_SIZE = (1610, 1109)


def unsupported(config: Any) -> str | None:
    """Why this architecture cannot be exported, from config.json alone; None when it can."""
    vision, text = config.vision_config, config.text_config
    taken = config.vision_feature_layer
    states = vision.num_hidden_layers + 1  # the embeddings are one of them
    points = config.image_grid_pinpoints
    checks = [
        (vision.model_type == "siglip_vision_model", f"the vision tower is {vision.model_type!r}, not 'siglip_vision_model'"),
        (text.model_type == "granite", f"the text model is {text.model_type!r}, not 'granite'"),
        (config.vision_feature_select_strategy == "full", "vision_feature_select_strategy is not 'full': SigLIP has no class token to drop"),
        (vision.hidden_act in ACTIVATIONS, f"hidden_act {vision.hidden_act!r} of the vision tower is not one of {', '.join(ACTIVATIONS)}"),
        (config.projector_hidden_act == "gelu", f"projector_hidden_act is {config.projector_hidden_act!r}, not 'gelu'"),
        (0 < text.max_position_embeddings <= MOST_POSITIONS, f"max_position_embeddings {text.max_position_embeddings} is not from 1 to {MOST_POSITIONS}"),
        (text.rope_parameters.get("rope_type", "default") == "default", f"rope_type is {text.rope_parameters.get('rope_type')!r}, not 'default'"),
        (text.hidden_act == "silu", f"hidden_act of the text model is {text.hidden_act!r}, not 'silu'"),
        (all(-states <= n < states for n in ([taken] if isinstance(taken, int) else taken)), f"vision_feature_layer {taken} is not among the {states} states of the tower"),
        (bool(points) and all(len(point) == 2 and min(point) > 0 for point in points), f"image_grid_pinpoints is no list of [height, width]: {points}"),
        (all(n % vision.image_size == 0 for point in points for n in point), "a grid pinpoint is no whole number of tiles"),
    ]
    return next((reason for holds, reason in checks if not holds), None)


def canonical(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Names of every generation of checkpoint as one: vision_tower.*, multi_modal_projector.*, language_model.*, lm_head.*, image_newline."""
    def rename(name: str) -> str:
        name = name.removeprefix("model.").replace("language_model.lm_head.", "lm_head.", 1)
        return name.replace("language_model.model.", "language_model.", 1).replace("vision_tower.vision_model.", "vision_tower.", 1)
    return Renamed(state, rename)


def packed_rows(config: Any, size: tuple[int, int]) -> tuple[int, np.ndarray]:
    """Tiles of an image of `size`, and the rows [T] of its packed embedding among all rows of its tiles; the newline is the last of all."""
    from transformers.image_processing_utils import select_best_resolution

    width, height = size
    side = config.vision_config.image_size
    patches = side // config.vision_config.patch_size
    best = select_best_resolution((height, width), config.image_grid_pinpoints)
    rows, columns = best[0] // side, best[1] // side
    newline = (1 + rows * columns) * patches * patches
    numbers = np.arange(patches * patches, newline).reshape(rows, columns, patches, patches).transpose(0, 2, 1, 3)
    numbers = numbers.reshape(rows * patches, columns * patches)
    if width / height > columns / rows:
        cut = (len(numbers) - int(round(height * (columns * patches / width), 7))) // 2
        numbers = numbers[cut : len(numbers) - cut]
    else:
        cut = (numbers.shape[1] - int(round(width * (rows * patches / height), 7))) // 2
        numbers = numbers[:, cut : numbers.shape[1] - cut]
    lines = np.concatenate([numbers, np.full((len(numbers), 1), newline)], axis=1)
    return 1 + rows * columns, np.concatenate([np.arange(patches * patches), lines.reshape(-1)]).astype(np.int64)


def vision_program(config: Any, vision: Weights, projector: Weights, newline: np.ndarray, packed: bool = False) -> onnx.ModelProto:
    tower, hidden = config.vision_config, config.text_config.hidden_size
    side, rows = tower.image_size, (tower.image_size // tower.patch_size) ** 2
    layers = config.vision_feature_layer
    b = Builder("vision")
    if packed:
        tiles, order = packed_rows(config, PACKED_SIZE)
        pixels = b.reshape(b.input("pixel_values", TensorProto.FLOAT, ["batch_size", "num_patches", 3, "img_size", "img_size"]), [tiles, 3, side, side])
    else:
        pixels = b.input("pixel_values", TensorProto.FLOAT, ["num_patches", tower.num_channels, side, side])
    states = hidden_states(b, pixels, vision, tower, [layers] if isinstance(layers, int) else list(layers))
    x = states[0] if len(states) == 1 else b.op("Concat", *states, axis=-1)
    x = gelu(b, b.linear(x, "projector.linear_1", projector["linear_1.weight"], projector.get("linear_1.bias")))
    x = b.linear(x, "projector.linear_2", projector["linear_2.weight"], projector.get("linear_2.bias"))
    line = b.weight("image_newline", newline.reshape(1, 1, hidden))
    if packed:
        flat = b.op("Concat", b.reshape(x, [1, tiles * rows, hidden]), line, axis=1)
        b.output(b.op("Gather", flat, b.const(order), axis=1, out="vision_embeds"), "vision_embeds", TensorProto.FLOAT, [1, len(order), hidden])
        return b.model()
    ends = b.op("Expand", line, b.op("Concat", b.dim(x, 0), b.const([1, hidden]), axis=0))
    b.output(b.op("Concat", x, ends, axis=1, out="vision_embeds"), "vision_embeds", TensorProto.FLOAT, ["num_patches", rows + 1, hidden])
    return b.model()


def export(config: Any, state: Mapping[str, Any], packed: bool = False) -> dict[str, onnx.ModelProto]:
    """Both programs of a model; `state` is keyed as any generation of LlavaNextForConditionalGeneration's checkpoints."""
    reason = unsupported(config)
    if reason is not None:
        raise ValueError(reason)
    w = canonical(state)
    # A tied head may be stored as well; the table it is tied to is then read once.
    tied = getattr(config, "tie_word_embeddings", False)
    head = None if tied else w.get("lm_head.weight")
    return {
        "vision": vision_program(config, weights_of(w, "vision_tower."), weights_of(w, "multi_modal_projector."), w["image_newline"].float().numpy(), packed),
        # No logits_scaling: LlavaNextForConditionalGeneration has a head of its own, which does not divide by it.
        "language": language_program(config.text_config, weights_of(w, "language_model."), config.image_token_id,
                                     None if head is None else head.float().numpy()),
    }

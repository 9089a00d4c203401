"""Exports the tiny Llama 4 with QEfficient's own modelling code, and compares its vision program with ours.

    python tools/reference/llama4_qefficient.py QEFFICIENT_GIT_DIR CHECKPOINT OUT_DIR

QEFFICIENT_GIT_DIR is a clone (or its .git), CHECKPOINT what llama4_tiny.py --experts 1 --checkpoint wrote. Writes vision.onnx and
language.onnx to OUT_DIR, for runs that name them under model.programs: their tokens are the cases of the goldens. Nothing of
QEfficient is installed or kept (see llava_next_qefficient.py). Run from the root.
"""
from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from llava_next_qefficient import export, package, prepare
from transformers import Llama4ForConditionalGeneration
from transformers.models.llama4 import modeling_llama4

OURS = Path("test/golden/llama4-tiny/vision.onnx")
CTX, SEQ, TILES = 64, 32, 17
CLASSES = ("TextAttention", "ForCausalLM", "TextDecoderLayer", "TextModel", "TextMoe", "VisionAttention", "VisionModel", "TextExperts", "Router")


class Holder(torch.nn.Module):
    """The attributes of the model under the names of every release that the wrappers were written for."""

    def __init__(self, model: Llama4ForConditionalGeneration) -> None:
        super().__init__()
        self.config, self.language_model = model.config, model.language_model
        self.vision_model, self.multi_modal_projector = model.vision_model, model.multi_modal_projector

    def get_image_features(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        return self.vision_model(pixel_values, output_attentions=False, output_hidden_states=False, return_dict=True)


def swap_classes(model: torch.nn.Module) -> None:
    """What QEfficient's transforms do to this model."""
    llama4 = importlib.import_module("QEfficient.transformers.models.llama4.modeling_llama4")
    cache = importlib.import_module("QEfficient.transformers.cache_utils")
    cache.QEffDynamicLayer.__abstractmethods__ = frozenset()  # this transformers asks for one method more
    norm = importlib.import_module("QEfficient.customop").CustomRMSNormAIC
    swaps = {getattr(modeling_llama4, f"Llama4{n}"): getattr(llama4, f"QEffLlama4{n}") for n in CLASSES}
    swaps[modeling_llama4.Llama4TextRMSNorm] = norm
    # Attributes that this transformers keeps under other names.
    for config in (model.config, model.config.text_config, model.config.vision_config):
        object.__setattr__(config, "torch_dtype", torch.float32)
    text = model.config.text_config
    parameters = dict(text.rope_parameters)
    object.__setattr__(text, "rope_scaling", parameters if parameters.get("rope_type") != "default" else None)
    for config in (text, model.config.vision_config):
        config.use_cache, config.output_attentions, config.output_hidden_states = True, False, False
    for module in model.modules():
        module.__class__ = swaps.get(type(module), type(module))
    for module in model.modules():
        if type(module) in swaps.values() and hasattr(module, "__qeff_init__"):
            module.__qeff_init__()
        if isinstance(module, llama4.QEffLlama4TextExperts):
            module.gate_proj.data, module.up_proj.data = (part.clone() for part in module.gate_up_proj.data.chunk(2, dim=-1))


def cache_length(layer: int, chunk: int) -> tuple[str, int]:
    return ("ctx_len", CTX) if (layer + 1) % 4 == 0 else ("chunk_ctx_len", min(CTX, chunk))


def export_language(wrapper: type[torch.nn.Module], model: Llama4ForConditionalGeneration, out: Path) -> None:
    text = model.config.text_config
    layers = range(text.num_hidden_layers)
    lengths = [cache_length(n, text.attention_chunk_size) for n in layers]
    states = [f"past_{kind}.{n}" for n in layers for kind in ("key", "value")]
    inputs = {"input_ids": torch.ones(1, SEQ, dtype=torch.int64), "vision_embeds": torch.ones(TILES * 36, text.hidden_size),
              "position_ids": torch.arange(SEQ).view(1, SEQ), "image_idx": torch.zeros(1, 1, dtype=torch.int64),
              "past_key_values": [tuple(torch.zeros(1, text.num_key_value_heads, lengths[n][1], text.head_dim) for _ in range(2)) for n in layers]}
    axes = {"input_ids": {0: "batch_size", 1: "seq_len"}, "position_ids": {0: "batch_size", 1: "seq_len"}, "vision_embeds": {0: "vision_size"},
            **{f"past_{kind}.{n}": {0: "batch_size", 2: lengths[n][0]} for n in layers for kind in ("key", "value")}}
    kept = ["logits", "vision_embeds_RetainedState", "image_idx_output", *(f"{s}_RetainedState" for s in states)]
    export(wrapper(Holder(model)), inputs, out, [*list(inputs)[:4], *states], kept, axes)


def main() -> None:
    repo, checkpoint, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(repo, folder)
        package("QEfficient.transformers.models.llama4", folder)
        wrappers = importlib.import_module("QEfficient.transformers.models.llama4.modeling_llama4")
        model = Llama4ForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
        assert model.config.text_config.num_experts_per_tok == 1, "QEfficient's code routes to one expert a token"
        swap_classes(model)
        pixels = torch.randn(2, 3, 336, 336, generator=torch.Generator().manual_seed(1))
        export(wrappers.QEffLlama4EncoderWrapper(Holder(model)), {"pixel_values": pixels}, out / "vision.onnx", ["pixel_values"], ["vision_embeds"],
               {"pixel_values": {0: "max_num_tiles", 2: "img_size", 3: "img_size"}})
        theirs, ours = (ort.InferenceSession(p).run(None, {"pixel_values": pixels.numpy()})[0] for p in (out / "vision.onnx", OURS))
        apart = float(np.abs(theirs - ours).max())
        print(f"rows {theirs.shape}, largest value {np.abs(theirs).max():.3f}, at most {apart:.2e} apart from ours")
        # f32 sums in another order, through three layers of unit-sized values.
        assert theirs.shape == ours.shape and apart < 1e-4, "the vision programs differ"
        export_language(wrappers.QEffLlama4DecoderWrapper, model, out / "language.onnx")


if __name__ == "__main__":
    main()

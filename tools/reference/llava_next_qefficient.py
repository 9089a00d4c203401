"""Exports the tiny Granite Vision model with QEfficient's own modelling code, and compares its vision program with ours.

    python tools/reference/llava_next_qefficient.py QEFFICIENT_GIT_DIR CHECKPOINT OUT_DIR

QEFFICIENT_GIT_DIR is a clone (or its .git), CHECKPOINT what llava_next_tiny.py --checkpoint wrote. Writes vision.onnx and
language.onnx to OUT_DIR, for runs that name them under model.programs: their tokens are the `packed` cases of the goldens.
Nothing of QEfficient is installed or kept: its modules are unpacked to a temporary folder and run on this transformers
with stand-ins for what it imports beyond them. Run from the root.
"""
from __future__ import annotations

import importlib
import io
import logging
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from transformers import LlavaNextForConditionalGeneration
from transformers.models.granite import modeling_granite

PACKED = Path("test/golden/llava-next/tiny/packed.onnx")
CTX, SEQ, ROWS = 600, 550, 1032


class Nothing:
    """torch.ops.qefficient: only the dynamo exporter uses it."""

    def __getattr__(self, _: str) -> None:
        return None


def package(name: str, folder: str | None = None, **members: Any) -> None:
    """A package without its own __init__, whose imports need more than is here."""
    made = types.ModuleType(name)
    if folder is not None:
        made.__path__ = [f"{folder}/{name.replace('.', '/')}"]
    for key, value in members.items():
        setattr(made, key, value)
    sys.modules[name] = made


def prepare(repo: str, folder: str) -> None:
    archive = subprocess.run(["git", "-C", repo, "archive", "HEAD", "QEfficient"], capture_output=True, check=True).stdout
    tarfile.open(fileobj=io.BytesIO(archive)).extractall(folder, filter="data")
    for part in ("", ".transformers", ".transformers.models", ".transformers.models.granite", ".transformers.models.llava_next", ".utils", ".blocking", ".base"):
        package(f"QEfficient{part}", folder)
    package("QEfficient.utils._utils", IOInfo=object)
    package("QEfficient.utils.logging_utils", logger=logging.getLogger("reference"))
    sys.path.insert(0, folder)
    sys.modules["QEfficient.utils"].constants = importlib.import_module("QEfficient.utils.constants")
    setattr(torch.ops, "qefficient", Nothing())


class Holder(torch.nn.Module):
    """The attributes of the model under the names of every release that the wrappers were written for."""

    def __init__(self, model: LlavaNextForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.config, self.lm_head = model.model, model.config, model.lm_head
        self.vision_tower, self.multi_modal_projector = model.model.vision_tower, model.model.multi_modal_projector
        self.language_model = model.model.language_model

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.language_model.get_input_embeddings()


def swap_classes(model: torch.nn.Module) -> None:
    """What QEfficient's transforms do to a Granite decoder."""
    granite = importlib.import_module("QEfficient.transformers.models.granite.modeling_granite")
    cache = importlib.import_module("QEfficient.transformers.cache_utils")
    cache.QEffDynamicLayer.__abstractmethods__ = frozenset()  # this transformers asks for one method more
    norm = importlib.import_module("QEfficient.customop").CustomRMSNormAIC
    swaps = {getattr(modeling_granite, f"Granite{n}"): getattr(granite, f"QEffGranite{n}") for n in ("Attention", "DecoderLayer", "Model")}
    for module in model.modules():
        module.__class__ = {**swaps, modeling_granite.GraniteRMSNorm: norm}.get(type(module), type(module))
    text = model.model.language_model.config
    text.use_cache, text.output_attentions, text.output_hidden_states = True, False, False
    model.model.language_model.__qeff_init__()


def export(module: torch.nn.Module, inputs: dict[str, Any], path: Path, names: list[str], outputs: list[str], axes: dict[str, dict[int, str]]) -> None:
    torch.onnx.export(module, (inputs,), str(path), input_names=names, output_names=outputs, dynamic_axes=axes, opset_version=17, dynamo=False)
    ports = [(p.name, [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim]) for p in onnx.load(path).graph.input]
    print(path.name, ports[:5])


def export_language(wrapper: type[torch.nn.Module], model: LlavaNextForConditionalGeneration, out: Path) -> None:
    text = model.config.text_config
    heads, dim, layers = text.num_key_value_heads, text.hidden_size // text.num_attention_heads, range(text.num_hidden_layers)
    states = [f"past_{kind}.{n}" for n in layers for kind in ("key", "value")]
    inputs = {"input_ids": torch.ones(1, SEQ, dtype=torch.int64), "vision_embeds": torch.ones(1, ROWS, text.hidden_size),
              "position_ids": torch.full((1, SEQ), CTX - 1), "image_idx": torch.zeros(1, 1, dtype=torch.int64),
              "past_key_values": [tuple(torch.zeros(1, heads, CTX, dim) for _ in range(2)) for _ in layers]}
    axes = {"input_ids": {0: "batch_size", 1: "seq_len"}, "position_ids": {0: "batch_size", 1: "seq_len"},
            "vision_embeds": {0: "vision_batch_size", 1: "vision_size"}, **{s: {0: "batch_size", 2: "ctx_len"} for s in states}}
    kept = ["logits", "vision_embeds_RetainedState", "image_idx_output", *(f"{s}_RetainedState" for s in states)]
    export(wrapper(Holder(model)), inputs, out, [*list(inputs)[:4], *states], kept, axes)


def main() -> None:
    repo, checkpoint, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        prepare(repo, folder)
        wrappers = importlib.import_module("QEfficient.transformers.models.llava_next.modeling_llava_next")
        model = LlavaNextForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
        model.config.text_config.torch_dtype = torch.float32
        pixels = torch.randn(1, 10, 3, 384, 384, generator=torch.Generator().manual_seed(1))
        vision = {"pixel_values": pixels, "image_sizes": torch.tensor([[1109, 1610]])}
        export(wrappers.QEffLlavaNextEncoderWrapper(Holder(model)), vision, out / "vision.onnx", list(vision), ["vision_embeds"],
               {"pixel_values": {0: "batch_size", 1: "num_patches", 3: "img_size", 4: "img_size"},
                "image_sizes": {0: "image_size_height", 1: "image_size_width"}})
        theirs, ours = (ort.InferenceSession(p).run(None, {"pixel_values": pixels.numpy()})[0] for p in (out / "vision.onnx", PACKED))
        apart = float(np.abs(theirs - ours).max())
        print(f"rows {theirs.shape}, largest value {np.abs(theirs).max():.3f}, at most {apart:.2e} apart from ours")
        # f32 sums in another order, through four layers of unit-sized values.
        assert theirs.shape == ours.shape and apart < 1e-4, "the packed programs differ"
        swap_classes(model)
        export_language(wrappers.QEffLlavaNextDecoderWrapper, model, out / "language.onnx")


if __name__ == "__main__":
    main()

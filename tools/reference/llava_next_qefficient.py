"""Compares our packed vision program with the one that QEfficient's own wrapper exports to, on the tiny model.

    python tools/reference/llava_next_qefficient.py QEFFICIENT_GIT_DIR CHECKPOINT [OUT.onnx]

QEFFICIENT_GIT_DIR is a clone (or its .git), CHECKPOINT what llava_next_tiny.py --checkpoint wrote. Nothing of QEfficient is
installed or kept: the module of its wrapper is read from the repository and run with stand-ins for its imports.
"""
from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from transformers import LlavaNextForConditionalGeneration

PACKED = Path("test/golden/llava-next/tiny/packed.onnx")


def module(repo: str, name: str, path: str) -> types.ModuleType:
    text = subprocess.run(["git", "-C", repo, "show", f"HEAD:{path}"], capture_output=True, text=True, check=True).stdout
    made = types.ModuleType(name)
    made.__file__ = path
    sys.modules[name] = made
    exec(compile(text, path, "exec"), made.__dict__)
    return made


def wrapper(repo: str) -> type[torch.nn.Module]:
    for name in ("QEfficient", "QEfficient.utils", "QEfficient.utils._utils", "QEfficient.utils.logging_utils"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["QEfficient.utils._utils"].IOInfo = object
    sys.modules["QEfficient.utils.logging_utils"].logger = logging.getLogger("reference")
    sys.modules["QEfficient.utils"].constants = module(repo, "QEfficient.utils.constants", "QEfficient/utils/constants.py")
    return module(repo, "reference_llava_next", "QEfficient/transformers/models/llava_next/modeling_llava_next.py").QEffLlavaNextEncoderWrapper


class Holder(torch.nn.Module):
    """The attributes of the model under the names of every release that the wrapper was written for."""

    def __init__(self, model: LlavaNextForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.config = model.model, model.config
        self.vision_tower, self.multi_modal_projector = model.model.vision_tower, model.model.multi_modal_projector


def main() -> None:
    repo, checkpoint = sys.argv[1:3]
    model = LlavaNextForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager").eval()
    pixels = torch.randn(1, 10, 3, 384, 384, generator=torch.Generator().manual_seed(1))
    axes = {"pixel_values": {0: "batch_size", 1: "num_patches", 3: "img_size", 4: "img_size"},
            "image_sizes": {0: "image_size_height", 1: "image_size_width"}}
    with tempfile.TemporaryDirectory() as scratch:
        out = sys.argv[3] if len(sys.argv) > 3 else f"{scratch}/vision.onnx"
        torch.onnx.export(wrapper(repo)(Holder(model)), (pixels, torch.tensor([[1109, 1610]])), out, input_names=list(axes),
                          output_names=["vision_embeds"], dynamic_axes=axes, opset_version=17, dynamo=False)
        ports = [(p.name, [d.dim_param or d.dim_value for d in p.type.tensor_type.shape.dim]) for p in onnx.load(out).graph.input]
        theirs = ort.InferenceSession(out).run(None, {"pixel_values": pixels.numpy()})[0]
    ours = ort.InferenceSession(PACKED).run(None, {"pixel_values": pixels.numpy()})[0]
    apart = float(np.abs(theirs - ours).max())
    print(f"inputs {ports}, rows {theirs.shape}, largest value {np.abs(theirs).max():.3f}, at most {apart:.2e} apart")
    # f32 sums in another order, through four layers of unit-sized values.
    assert theirs.shape == ours.shape and apart < 1e-4, "the packed programs differ"


if __name__ == "__main__":
    main()

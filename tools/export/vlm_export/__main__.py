"""python -m tools.export.vlm_export MODEL_DIR [OUT_DIR]: writes vision.onnx and language.onnx."""
from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from safetensors.torch import load_file
from transformers import AutoConfig

from . import internvl, llama4, llava_next

EXPORTERS: dict[str, Callable[[Any, dict[str, Any]], dict[str, onnx.ModelProto]]] = {"internvl": internvl.export, "llava_next": llava_next.export, "llama4": llama4.export}


def export_folder(folder: Path, out: Path) -> list[Path]:
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in EXPORTERS:
        raise SystemExit(f"no exporter for model_type {config.model_type!r}; there are: {', '.join(EXPORTERS)}")
    state: dict[str, Any] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        state.update(load_file(shard))
    written = []
    out.mkdir(parents=True, exist_ok=True)
    for name, model in EXPORTERS[config.model_type](config, state).items():
        path = out / f"{name}.onnx"
        draft = path.with_suffix(".onnx.tmp")
        onnx.save(model, draft)
        os.replace(draft, path)
        written.append(path)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="vlm_export", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    args = parser.parse_args()
    for path in export_folder(args.model, args.out or args.model):
        print(f"{path}  {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

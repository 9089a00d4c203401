"""A model of InternVL-1B's widths and depth (24 x 1024 vision at 448 px, 24 x 896 text) with random weights and the demonstration
model's small vocabulary, whose tokenizer can be shipped: for `bench/overhead.ts --model`. About 2.7 GB in f32, made twice.

    python bench/overhead_model.py DIR       # DIR/checkpoint, DIR/model
"""
from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "models/shapes-internvl"
VISION = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "image_size": [448, 448]}
TEXT = {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864}
IMAGE_TOKENS = 256


def change(name: str, folder: Path, **values: object) -> None:
    data = json.loads((SHIPPED / name).read_text())
    (folder / name).write_text(json.dumps(data | values, indent=2))


def make(folder: Path) -> None:
    from transformers import AutoModelForImageTextToText, InternVLConfig

    config = json.loads((SHIPPED / "config.json").read_text())
    vision = config["vision_config"] | VISION
    text = config["text_config"] | TEXT
    text.pop("layer_types")
    vision["dtype"] = text["dtype"] = "float32"
    config = config | {"vision_config": vision, "text_config": text, "image_seq_length": IMAGE_TOKENS, "dtype": "float32"}
    torch.manual_seed(11)
    model = AutoModelForImageTextToText.from_config(InternVLConfig.from_dict(config))
    model.save_pretrained(folder, max_shard_size="1GB")
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / name, folder / name)
    change("preprocessor_config.json", folder, size={"height": 448, "width": 448}, max_patches=12)
    change("processor_config.json", folder, image_seq_length=IMAGE_TOKENS)


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir(parents=True)
    make(checkpoint)
    command = [sys.executable, "-m", "vlm_export", str(checkpoint), "--out", str(folder / "model")]
    subprocess.run(command, check=True, cwd=ROOT / "tools/export")


if __name__ == "__main__":
    main()

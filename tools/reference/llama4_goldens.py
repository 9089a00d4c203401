"""Goldens of Llama 4: pixels, canvases and token ids by transformers' own processor.

    python tools/reference/llama4_goldens.py [--out test/golden/llama4]

Needs pillow 12.3.0, torch 2.13.0, torchvision 0.28.0, transformers 5.17.0 (see `versions` in the output). Run from the root.
"""
from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llama4_tiny import VERSIONS, dump, write_folder
from llava_next_goldens import SHAPES, SOURCES, sha
from PIL import Image, ImageOps
from text_pixels import picture, png
from text_prompts import CONVERSATIONS, packed
from transformers import AutoProcessor
from transformers.models.llama4.image_processing_llama4 import Llama4ImageProcessor
from transformers.models.llama4.processing_llama4 import chat_template as published_template

SIDE = 336
EXACT = [(336, 336), (337, 336), (336, 672), (1008, 672), (1344, 1344), (1345, 1343), (3360, 336), (200, 5376), (3000, 60)]
# Prompts on shapes that decide differently: one tile, a row, a column, a rectangle of them, sixteen.
PROMPTS = [*CONVERSATIONS, *((f"{w} by {h}", [{"role": "user", "content": [{"type": "image", "image": 0}, {"type": "text", "text": "Hm?"}]}], [(w, h)])
                             for w, h in ((336, 336), (3360, 336), (100, 4000), (1600, 1200), (1344, 1344)))]
DATED = """\
{%- if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now("%d %b %Y") %}{% else %}\
{% set date_string = "26 Jul 2024" %}{% endif %}{% endif %}
{{- bos_token + '<|header_start|>system<|header_end|>\\n\\nToday is ' + date_string + '.<|eot|>' }}
{%- for message in messages %}{{ '<|header_start|>' + message['role'] + '<|header_end|>\\n\\n' + message['content'] + '<|eot|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\\n\\n' }}{% endif %}"""


def scout(config: dict[str, Any]) -> dict[str, Any]:
    """Scout's published numbers on the small tokenizer's ids."""
    small = config["text_config"]
    config["vision_config"] = {"model_type": "llama4_vision_model", "hidden_size": 1408, "intermediate_size": 5632, "image_size": SIDE, "patch_size": 14,
                               "num_attention_heads": 16, "num_hidden_layers": 34, "pixel_shuffle_ratio": 0.5, "projector_input_dim": 4096,
                               "projector_output_dim": 4096, "vision_output_dim": 4096, "rope_theta": 10000}
    config["text_config"] = {**{k: small[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size")}, "model_type": "llama4_text",
                             "hidden_size": 5120, "intermediate_size": 8192, "intermediate_size_mlp": 16384, "num_hidden_layers": 48,
                             "num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 10485760,
                             "num_experts_per_tok": 1, "num_local_experts": 16, "interleave_moe_layer_step": 1, "attention_chunk_size": 8192}
    return config


def pixels(image: Image.Image) -> dict[str, Any]:
    record: dict[str, Any] = {"size": list(image.size)}
    for name, options in (("usual", {}), ("maxCanvas", {"resize_to_max_canvas": True}), ("four", {"max_patches": 4})):
        out = Llama4ImageProcessor(**options)(image, return_tensors="pt")
        assert out["pixel_values"].dtype == torch.bfloat16
        values = np.ascontiguousarray(out["pixel_values"].float().numpy())
        flat = values.reshape(-1)
        record[name] = {"dims": list(values.shape), "grid": out["aspect_ratios"][0].tolist()[::-1], "sha256": sha(values.tobytes()),
                        "samples": flat[:: flat.size // 8][:8].tolist()}
    return record


class Sizes(Llama4ImageProcessor):
    """The reference's own path with its resizing looked at and left out."""

    seen: list[tuple[int, int]]

    def resize(self, image: torch.Tensor, size: Any, **_: Any) -> torch.Tensor:
        self.seen.append((size.width, size.height))
        return torch.zeros(image.shape[0], 3, size.height, size.width, dtype=torch.uint8)

    def rescale_and_normalize(self, images: torch.Tensor, *_: Any) -> torch.Tensor:
        return images


def grids() -> list[dict[str, Any]]:
    """Canvas and size inside it, as one digest of many sizes for each of several settings."""
    pick = random.Random(4)
    sizes = [(w, h) for w in range(1, 13) for h in range(1, 13)]
    sizes += [(SIDE * w // 2 + dx, SIDE * h // 2 + dy) for w in range(1, 9) for h in range(1, 9) for dx, dy in ((0, 0), (1, 0), (-1, 1))]
    sizes += [(round(10 ** pick.uniform(0, 3.5)), round(10 ** pick.uniform(0, 3.5))) for _ in range(300)]
    sizes += [(20000, 1), (1, 20000), (10000, 37), (37, 10000), (4032, 3024), (3024, 4032), (1920, 1080), (1240, 1754)]
    found = []
    for options in ({"max_patches": 16}, {"max_patches": 16, "resize_to_max_canvas": True}, {"max_patches": 5}, {"max_patches": 24}):
        processor = Sizes(**options)
        lines = []
        for width, height in sizes:
            processor.seen = []
            blank = torch.zeros(3, 1, 1, dtype=torch.uint8).expand(3, height, width)
            rows, columns = processor([blank], return_tensors="pt", input_data_format="channels_first")["aspect_ratios"][0].tolist()
            w, h = processor.seen[0]
            lines.append(f"{columns}x{rows}:{w}x{h}")
        found.append({"options": options, "first": lines[::50], "sha256": sha(";".join(lines).encode())})
    return [{"sizes": sizes}, *found]


def prompts(processor: Any) -> list[dict[str, Any]]:
    cases = []
    for name, conversation, sizes in PROMPTS:
        pictures = [Image.new("RGB", size) for size in sizes]
        rendered = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        assert rendered == processor.apply_chat_template(conversation, chat_template=published_template, add_generation_prompt=True, tokenize=False), name
        ids = processor(text=rendered, images=pictures or None, add_special_tokens=False)["input_ids"]
        cases.append({"name": name, "messages": conversation, "sizes": sizes, "rendered": rendered, "ids": packed(ids[0] if isinstance(ids[0], list) else ids)})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/golden/llama4"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.out / "model"
    write_folder(folder)
    dump(folder / "config.json", scout(json.loads((folder / "config.json").read_text())))
    written = json.loads((folder / "processor_config.json").read_text())
    dump(folder / "processor_config.json", {**written, "patch_size": 14})
    processor = AutoProcessor.from_pretrained(folder)
    sources = args.out / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    for width, height in EXACT:
        small = picture(max(1, width // 8), max(1, height // 8)).resize((width, height), Image.Resampling.NEAREST)
        (sources / f"exact-{width}x{height}.png").write_bytes(png(small.quantize(64)))
    images = {}
    for path in [*(SOURCES / name for name in SHAPES), *sorted(sources.glob("*.png"))]:
        with Image.open(path) as image:
            images[path.name] = pixels(ImageOps.exif_transpose(image).convert("RGB"))
    today = time.strftime("%d %b %Y")
    question = [{"role": "user", "content": "Which day is it?"}]
    dated = processor.apply_chat_template(question, chat_template=DATED, add_generation_prompt=True, tokenize=False)
    assert today in dated
    data = {"versions": VERSIONS, "images": images, "grids": grids(), "prompts": prompts(processor),
            "dated": {"template": DATED, "messages": question, "rendered": dated.replace(today, "{date}")}}
    (args.out / "goldens.json").write_text(json.dumps(data, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

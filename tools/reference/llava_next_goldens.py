"""Goldens of LLaVA-NeXT (Granite Vision): pixels, image sizes, row counts and token ids by transformers' own processors.

    python tools/reference/llava_next_goldens.py [--out test/golden/llava-next]

Needs pillow 12.3.0, torch 2.13.0, torchvision 0.28.0, transformers 5.17.0 (see `versions` in the output). Run from the root.
"""
from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
import transformers
from llava_next_folder import PINPOINTS, SIDE, write_folder
from PIL import Image, ImageOps
from text_pixels import picture, png
from text_prompts import CONVERSATIONS, packed
from transformers import AutoProcessor
from transformers.image_processing_utils import select_best_resolution
from transformers.models.llava_next.image_processing_llava_next import LlavaNextImageProcessor
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

VERSIONS = {"transformers": transformers.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__,
            "pillow": PIL.__version__}
SOURCES = Path("test/golden/images/sources")
PATCHES = SIDE // 14
SHAPES = """px1.png thin-wide.png thin-tall.png portrait.jpg landscape.jpg square.png panorama.jpg panorama-tall.jpg grey.png
rgba.png palette.png palette-trns.png exif-6.jpg exif-8.jpg cmyk.jpg grey-16bit.png icc-p3.png tile-448.jpg large.jpg""".split()
EXACT = [(384, 384), (768, 384), (1152, 1152), (1920, 192), (1610, 1109), (385, 767)]
# Prompts on shapes that decide differently: squeezed, padded left and right, padded above and below, one row of tiles.
PROMPTS = [*CONVERSATIONS,
           ("the exported size", [{"role": "user", "content": [{"type": "image", "image": 0}, {"type": "text", "text": "Hm?"}]}], [(1610, 1109)])]


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def values(processor: Any, image: Image.Image, **options: Any) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(processor(image, return_tensors="np", **options)["pixel_values"])[0])


def pixels(folder: Path, image: Image.Image) -> dict[str, Any]:
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    own = {k: v for k, v in settings.items() if k not in ("image_processor_type", "processor_class")}
    vision, pil = LlavaNextImageProcessor(**own), LlavaNextImageProcessorPil(**own)
    raw = {"do_rescale": False, "do_normalize": False}
    floats, pillow = values(vision, image), values(pil, image)
    assert floats.dtype == pillow.dtype == np.float32
    apart = np.abs(values(vision, image, **raw).astype(np.int16) - values(pil, image, **raw).astype(np.int16))
    sizes = np.asarray(vision(image, return_tensors="np")["image_sizes"])[0].tolist()
    # QEfficient's export knows one image size: its examples resize with Pillow's default filter first.
    fixed = image.resize((1610, 1109))
    return {"imageSize": sizes, "dims": list(floats.shape), "torchvision": sha(floats.tobytes()), "pil": sha(pillow.tobytes()),
            "mostLevelsApart": int(apart.max()), "packed": sha(values(vision, fixed).tobytes())}


def grids(processor: Any) -> dict[str, Any]:
    """Canvas and rows of many sizes as one digest, and what the model's own packing makes of some of them."""
    sizes = [(w, h) for w in range(1, 41) for h in range(1, 41)]
    sizes += [(w * 100 + h % 7, h * 100 + w % 5) for w in range(1, 21) for h in range(1, 21)]
    sizes += [(384, 384), (385, 384), (384, 385), (10000, 37), (37, 10000), (4032, 3024), (1610, 1109), (1, 20000), (20000, 1)]
    lines = []
    for width, height in sizes:
        best = select_best_resolution((height, width), PINPOINTS)
        lines.append(f"{best[1]}x{best[0]}:{processor._get_number_of_features(height, width, SIDE, SIDE)}")
    config = transformers.AutoConfig.from_pretrained(processor.folder)
    config.text_config = config.text_config.__class__(hidden_size=1, num_hidden_layers=0, num_attention_heads=1, vocab_size=4)
    holder = type("Holder", (), {"config": config})()
    rows = []
    for width, height in sizes[::97] + sizes[-9:]:
        best = select_best_resolution((height, width), PINPOINTS)
        tiles = 1 + best[0] * best[1] // SIDE**2
        # Rows numbered from 0 on show the order as well as the count; the newline is -1.
        numbered = torch.arange(tiles * PATCHES**2, dtype=torch.float32).reshape(tiles, PATCHES**2, 1)
        packed_rows, lengths = LlavaNextModel.pack_image_features(holder, [numbered], torch.tensor([[height, width]]), "full", torch.tensor([-1.0]))
        assert int(lengths[0]) == processor._get_number_of_features(height, width, SIDE, SIDE), (width, height)
        rows.append({"size": [width, height], "tiles": tiles, "rows": int(lengths[0]), "sha256": sha(packed_rows[0].numpy().astype("<f4").tobytes())})
    return {"sizes": sizes, "sha256": sha(";".join(lines).encode()), "packed": rows}


def prompts(processor: Any) -> list[dict[str, Any]]:
    cases = []
    for name, conversation, sizes in PROMPTS:
        pictures = [Image.new("RGB", size) for size in sizes]
        rendered = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
        ids = processor(text=rendered, images=pictures or None)["input_ids"]
        cases.append({"name": name, "messages": conversation, "sizes": sizes, "rendered": rendered, "ids": packed(ids[0] if isinstance(ids[0], list) else ids)})
    return cases


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/golden/llava-next"))
    args = parser.parse_args()
    folder = args.out / "model"
    write_folder(folder, Path("test/golden/text/granite/tokenizer.json"))
    processor = AutoProcessor.from_pretrained(folder)
    processor.folder = folder
    sources = args.out / "sources"
    sources.mkdir(parents=True, exist_ok=True)
    for width, height in EXACT:
        small = picture(max(1, width // 8), max(1, height // 8)).resize((width, height), Image.Resampling.NEAREST)
        (sources / f"exact-{width}x{height}.png").write_bytes(png(small.quantize(64)))
    images = {}
    for path in [*(SOURCES / name for name in SHAPES), *sorted(sources.glob("*.png"))]:
        with Image.open(path) as image:
            images[path.name] = pixels(folder, ImageOps.exif_transpose(image).convert("RGB"))
    data = {"versions": VERSIONS, "images": images, "grids": grids(processor), "prompts": prompts(processor)}
    (args.out / "goldens.json").write_text(json.dumps(data, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

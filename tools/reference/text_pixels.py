"""Whole pixel tensors of the preprocess node, as digests: transformers' Pillow backend, and the OpenGVLab code restated."""
from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from text_prompts import tiles as tile_count

SIZES = [(37, 23), (300, 200), (112, 112), (90, 400)]


def picture(width: int, height: int) -> Image.Image:
    """Waves and edges in three channels, the same on every machine."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    channels = [(x * 7 + y * 3) % 256, (x * y // 5 + 40 * ((x // 9 + y // 7) % 2)) % 256, (255 - x * 2 + y * 11) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()


def hf_pixels(folder: Path, image: Image.Image) -> np.ndarray:
    from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

    settings = json.loads((folder / "preprocessor_config.json").read_text())
    processor = GotOcr2ImageProcessorPil(**{k: v for k, v in settings.items() if k not in ("image_processor_type", "processor_class")})
    return np.asarray(processor(images=[image], crop_to_patches=True, return_tensors="np")["pixel_values"])


def chat_pixels(image: Image.Image, side: int = 448) -> np.ndarray:
    import torch
    from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize, ToTensor

    total = tile_count(*image.size)
    blocks = total - 1 if total > 1 else 1
    grid = min(((i, blocks // i) for i in range(1, blocks + 1) if blocks % i == 0),
               key=lambda g: abs(image.width / image.height - g[0] / g[1]))
    resized = image.resize((side * grid[0], side * grid[1]))
    parts = [resized.crop((c * side, r * side, (c + 1) * side, (r + 1) * side)) for r in range(grid[1]) for c in range(grid[0])]
    if blocks > 1:
        parts.append(image.resize((side, side)))
    transform = Compose([Resize((side, side), interpolation=InterpolationMode.BICUBIC), ToTensor(),
                         Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))])
    return torch.stack([transform(p) for p in parts]).numpy()


def pixel_cases(model: Path) -> list[dict[str, object]]:
    cases = []
    for size in SIZES:
        image = picture(*size)
        hf, chat = hf_pixels(model, image), chat_pixels(image)
        cases.append({"size": size, "png": base64.b64encode(png(image)).decode(),
                      "hf": {"dims": list(hf.shape), "sha256": digest(hf)},
                      "chat": {"dims": list(chat.shape), "sha256": digest(chat)}})
    return cases

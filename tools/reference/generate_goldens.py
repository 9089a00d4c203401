"""Records what transformers itself does with the demonstration model, for the tests of the TypeScript pipeline.

python -m tools.reference.generate_goldens models/shapes-internvl test/golden/shapes-internvl.json
Run from the root of the repository; image paths in the file are relative to it. Greedy, f32, with the image processor that the folder names (torchvision backend).
"""
from __future__ import annotations

import argparse
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image, __version__ as pillow_version

LIMIT = 96
LONG = "Look at the picture with care. There may be a circle, a square, a triangle or a star in it. " * 6


def user(*parts: str) -> dict[str, Any]:
    """A user message; a part that names a PNG is an image."""
    content = [{"type": "image", "path": p} if p.endswith(".png") else {"type": "text", "text": p} for p in parts]
    return {"role": "user", "content": content}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


SCENE = "examples/scene.png"
CASES: dict[str, list[dict[str, Any]]] = {
    "caption": [user(SCENE, "Describe the image.")],
    "count": [user(SCENE, "How many shapes are there?")],
    "look-up, lower case and no end mark": [user(SCENE, "what colour is the circle")],
    "existence, capitals": [user(SCENE, "IS THERE A BLUE SQUARE?")],
    "grounding": [user(SCENE, "Where is the red circle?")],
    "relation": [user("examples/panorama.png", "What is left of the red circle?")],
    "caption of a panorama": [user("examples/panorama.png", "What is in the picture?")],
    "caption of a portrait": [user("examples/portrait.png", "Describe this image.")],
    "single tile": [user("examples/thumb.png", "Describe the image.")],
    "large picture, six shapes": [user("examples/photo.png", "Describe the image.")],
    "several turns": [user(SCENE, "Where is the star?"), said("<ref>yellow star</ref><box>[[190, 150, 350, 330]]</box>"),
                      user("What color is it?"), said("yellow"), user("How many shapes are there?")],
    "two images": [user("examples/square.png", "examples/thumb.png", "Describe the image.")],
    "text only": [user("How many shapes are there?")],
    "own system message": [{"role": "system", "content": [{"type": "text", "text": "Answer in short."}]},
                           user(SCENE, "How many squares are there?")],
    "long prompt": [user(SCENE, LONG + "How many shapes are there?")],
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pixel_facts(pixels: np.ndarray, mean: list[float], std: list[float]) -> dict[str, Any]:
    """Digest of the f32 values, and of the uint8 picture behind them, which no rounding of the normalisation can move."""
    levels = np.rint((pixels * np.array(std, np.float32)[:, None, None] + np.array(mean, np.float32)[:, None, None]) * 255)
    return {
        "shape": list(pixels.shape),
        "sha256_f32_le": sha256(np.ascontiguousarray(pixels, "<f4").tobytes()),
        "sha256_uint8": sha256(levels.astype(np.uint8).tobytes()),
        "mean": round(float(pixels.mean()), 6),
        "first": [round(float(v), 6) for v in pixels.reshape(-1)[:8]],
    }


def without_paths(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    strip = lambda part: {"type": "image"} if part["type"] == "image" else part  # noqa: E731
    return [{"role": m["role"], "content": [strip(p) for p in m["content"]]} for m in messages]


def record(processor: Any, model: Any, messages: list[dict[str, Any]]) -> dict[str, Any]:
    paths = [p["path"] for m in messages for p in m["content"] if p["type"] == "image"]
    images = [Image.open(p).convert("RGB") for p in paths]
    rendered = processor.apply_chat_template(without_paths(messages), add_generation_prompt=True)
    inputs = processor(images=images or None, text=rendered, return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=LIMIT, do_sample=False, return_dict_in_generate=True, output_logits=True)
    tokens = out.sequences[0, len(ids):].tolist()
    steps = sorted({0, 1, 2, len(tokens) // 2, len(tokens) - 1} & set(range(len(tokens))))
    top = {s: torch.topk(out.logits[s][0], 2) for s in steps}
    image = processor.image_processor
    return {
        "messages": messages,
        "rendered": rendered,
        "input_ids": ids,
        "image_tokens": ids.count(processor.image_token_id),
        "pixel_values": pixel_facts(inputs["pixel_values"].numpy(), image.image_mean, image.image_std) if images else None,
        "generated_ids": tokens,
        "text": processor.tokenizer.decode(tokens, skip_special_tokens=True),
        "logits_top2": [
            {"step": s, "ids": t.indices.tolist(), "values": [round(v, 5) for v in t.values.tolist()]} for s, t in top.items()
        ],
    }


def main() -> None:
    from transformers import AutoProcessor, InternVLForConditionalGeneration

    parser = argparse.ArgumentParser(prog="generate_goldens", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    processor = AutoProcessor.from_pretrained(args.model)
    model = InternVLForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    weights = {f.name: sha256(f.read_bytes()) for f in sorted(args.model.iterdir()) if f.suffix in (".safetensors", ".onnx")}
    golden = {
        "made_by": "tools/reference/generate_goldens.py",
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0], "torchvision": version("torchvision"), "pillow": pillow_version, "numpy": np.__version__},
        "model": {"folder": args.model.as_posix(), "sha256": weights},
        "max_new_tokens": LIMIT,
        "eos_token_id": model.generation_config.eos_token_id,
        "cases": [{"name": name, **record(processor, model, messages)} for name, messages in CASES.items()],
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(golden, indent=1) + "\n")
    for case in golden["cases"]:  # type: ignore[attr-defined]
        print(f"{case['name'][:40]:40s} {len(case['input_ids']):4d} tokens  {case['text']!r}")


if __name__ == "__main__":
    main()

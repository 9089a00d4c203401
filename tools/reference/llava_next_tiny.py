"""A tiny random-weight model of Granite Vision's architecture with its real image geometry, and what transformers' own
`generate` makes of it: the goldens of whole runs.

    python tools/reference/llava_next_tiny.py [--out test/golden/llava-next/tiny] [--checkpoint FOLDER]

Writes configuration, both programs (and the vision program of the packed kind) and goldens; the checkpoint itself is kept
only where --checkpoint says. Weights are numbers that f16 holds, so that storing them so loses nothing. Run from the root.
"""
from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
from llava_next_folder import FEATURE_LAYERS, model_config, write_folder
from llava_next_goldens import SOURCES, VERSIONS
from PIL import Image, ImageOps
from safetensors.torch import load_file
from text_prompts import packed
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoProcessor, LlavaNextForConditionalGeneration

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "export"))
from vlm_export import llava_next  # noqa: E402

TOKENIZER = Path("test/golden/text/granite/tokenizer.json")
OWN = Path("test/golden/llava-next/sources")
PATCH, STEPS, SEED = 32, 64, 5


def ask(images: list[str], words: str, packed_size: bool = False) -> dict[str, Any]:
    content = [*({"type": "image", "image": i} for i in range(len(images))), {"type": "text", "text": words}]
    return {"images": images, "messages": [{"role": "user", "content": content}], "packed": packed_size}


CASES = {
    "landscape": ask(["landscape.jpg"], "Describe the image."),
    "portrait": ask(["portrait.jpg"], "What is in the picture?"),
    "one pixel": ask(["px1.png"], "What colour?"),
    "thin": ask(["thin-tall.png"], "How many lines are there?"),
    "panorama": ask(["panorama.jpg"], "Read the text from left to right."),
    "grey square of nine tiles": ask(["exact-1152x1152.png"], "Zwei Kreise?"),
    "turned by EXIF": ask(["exif-6.jpg"], "Which side is up?"),
    "two images": ask(["exact-768x384.png", "portrait.jpg"], "Compare them."),
    "text only": ask([], "Say hello."),
    "packed: landscape": ask(["landscape.jpg"], "Describe the image.", True),
    "packed: panorama": ask(["panorama.jpg"], "Read the text from left to right.", True),
}


def tiny_config(tokenizer: Tokenizer) -> dict[str, Any]:
    config = model_config(tokenizer)
    config["vision_feature_layer"] = [-4, -3, -2, -1]
    assert len(FEATURE_LAYERS) == 4
    config["vision_config"] |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 4, "patch_size": PATCH}
    config["text_config"] |= {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2,
                              "max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": None,
                              # Not the published values: at this width they would make every answer repeat its last token.
                              "embedding_multiplier": 3.0, "residual_multiplier": 0.8, "attention_multiplier": 0.25, "logits_scaling": 0.5}
    return config


def fill(model: torch.nn.Module) -> None:
    """Random weights large enough that answers depend on every part, on numbers that f16 holds."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value = 1 + 0.1 * noise
            elif p.dim() < 2:
                value = 0.15 * noise
            elif "embed_tokens" in name:
                value = 0.15 * noise
            else:
                # Peaked attention, and vision rows no larger than words: answers then wander instead of repeating.
                gain = 2.5 if ("q_proj" in name or "k_proj" in name) and "language" in name else 0.1 if "linear_2" in name else 1.6
                value = noise * gain / math.sqrt(p[0].numel())
            p.copy_(value.half().float())


def record(processor: Any, model: Any, case: dict[str, Any]) -> dict[str, Any]:
    pictures = []
    for name in case["images"]:
        with Image.open(OWN / name if (OWN / name).exists() else SOURCES / name) as image:
            picture = ImageOps.exif_transpose(image).convert("RGB")
            pictures.append(picture.resize((1610, 1109)) if case["packed"] else picture)
    text = processor.apply_chat_template(case["messages"], add_generation_prompt=True, tokenize=False)
    inputs = processor(images=pictures or None, text=text, return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=STEPS, do_sample=False, eos_token_id=None, return_dict_in_generate=True, output_logits=True)
    tokens = out.sequences[0, len(ids):].tolist()
    logits = torch.stack([step[0] for step in out.logits])
    best = logits.topk(2).values
    assert len(tokens) == STEPS
    return {**case, "ids": packed(ids), "tokens": tokens, "leastMargin": round(float((best[:, 0] - best[:, 1]).min()), 6),
            "logits": {str(step): [round(v, 6) for v in logits[step].tolist()[::4]] for step in (0, STEPS - 1)}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/golden/llava-next/tiny"))
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    write_folder(args.out, TOKENIZER, tiny_config(tokenizer), PATCH)
    config = AutoConfig.from_pretrained(args.out)
    model = LlavaNextForConditionalGeneration(config).eval()
    model.tie_weights()
    fill(model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.checkpoint or Path(scratch)
        model.save_pretrained(folder)
        for file in args.out.iterdir():
            if file.suffix in (".json", ".jinja") and file.name != "goldens.json":
                shutil.copy(file, folder / file.name)
        state = load_file(folder / "model.safetensors")
    for name, program in llava_next.export(config, state).items():
        onnx.save(program, args.out / f"{name}.onnx")
    onnx.save(llava_next.export(config, state, packed=True)["vision"], args.out / "packed.onnx")
    processor = AutoProcessor.from_pretrained(args.out)
    cases = {}
    for name, case in CASES.items():
        cases[name] = record(processor, model, case)
        print(f"{name:28s} {len(set(cases[name]['tokens'])):3d} distinct, least margin {cases[name]['leastMargin']}")
    assert len({tuple(case["tokens"]) for case in cases.values()}) == len(cases), "answers do not depend on their pictures"
    (args.out / "goldens.json").write_text(json.dumps({"versions": VERSIONS, "steps": STEPS, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""A tiny random-weight model of InternVL's architecture with its real tiles, in both layouts, and what transformers' own
`generate` makes of it: the goldens of whole runs.

    python tools/reference/internvl_tiny.py [--out test/golden/internvl-tiny] [--checkpoint FOLDER]

Writes the model folder that vlm_export makes for a card (small, and it runs on the processor too), under chat/ the same model
in OpenGVLab's layout without the programs, and goldens; the checkpoints are kept only where --checkpoint says, in hf/ and
chat/. Prompts and pixels of OpenGVLab's layout are those of its published code, restated. Weights are numbers that f16
holds, so that storing them so loses nothing. Run from the root.
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

import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from safetensors.torch import save_file
from text_pixels import chat_pixels
from text_prompts import HF_TEMPLATE, chat_query, dump, packed, write_chat_folder, write_hf_folder
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoProcessor, InternVLForConditionalGeneration

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]
from tools.export.tests.test_folder import chat  # noqa: E402
from tools.export.vlm_export.folder import Options, export  # noqa: E402

TOKENIZER = Path("test/golden/text/qwen2/tokenizer.json")
SOURCES = Path("test/golden/images/sources")
VERSIONS = {"transformers": transformers.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__}
SIDE, PATCH, PER_TILE, STEPS, SEED = 448, 28, 64, 64, 7
TEMPLATE = "internvl2_5"


def ask(images: list[str], words: str) -> dict[str, Any]:
    content = [*({"type": "image", "image": i} for i in range(len(images))), {"type": "text", "text": words}]
    return {"images": images, "messages": [{"role": "user", "content": content}]}


CASES = {
    "landscape": ask(["landscape.jpg"], "Describe the image."),
    "portrait": ask(["portrait.jpg"], "What is in the picture?"),
    "one pixel": ask(["px1.png"], "What colour?"),
    "thin": ask(["thin-tall.png"], "How many lines are there?"),
    "square": ask(["square.png"], "Zwei Kreise?"),
    "turned by EXIF": ask(["exif-6.jpg"], "Which side is up?"),
    "large": ask(["large.jpg"], "Tell me everything."),
    "exactly a tile": ask(["tile-448.jpg"], "Where is the middle?"),
    "two images": ask(["panorama.jpg", "portrait.jpg"], "Compare them."),
    "text only": ask([], "Say hello."),
}


def write_folders(hf: Path, other: Path) -> None:
    """The files beside the weights; config.json of `other` comes with its weights."""
    write_hf_folder(hf, TOKENIZER)
    config = json.loads((hf / "config.json").read_text())
    config["image_seq_length"] = PER_TILE
    config["tie_word_embeddings"] = False
    config["architectures"] = ["InternVLForConditionalGeneration"]
    config["vision_config"] |= {"patch_size": [PATCH, PATCH], "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
                                "attention_bias": True}
    # Heads of 16, which the fused operator of the processor's program takes.
    config["text_config"] |= {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                              "max_position_embeddings": 2048, "tie_word_embeddings": False, "eos_token_id": None, "bos_token_id": None}
    dump(hf / "config.json", config)
    dump(hf / "processor_config.json", {"image_seq_length": PER_TILE, "processor_class": "InternVLProcessor"})
    tokenizer = json.loads((hf / "tokenizer_config.json").read_text())
    del tokenizer["chat_template"]
    dump(hf / "tokenizer_config.json", tokenizer)
    (hf / "chat_template.jinja").write_text(HF_TEMPLATE)
    write_chat_folder(other, TOKENIZER, TEMPLATE)


def fill(model: torch.nn.Module, image_token: int) -> None:
    """Random weights large enough that answers depend on every part, on numbers that f16 holds."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value = 1 + 0.2 * noise
            elif "lambda_" in name:
                value = 0.5 + 0.1 * noise
            elif p.dim() < 2:
                value = 0.15 * noise
            elif "embed" in name or "token" in name:
                value = 0.5 * noise if "projection" not in name else noise * 1.5 / math.sqrt(p[0].numel())
            else:
                gain = 2.5 if ("q_proj" in name and "language" in name) else 1.5
                value = noise * gain / math.sqrt(p[0].numel())
            if "lm_head" in name:
                # Never an answer: the program would put a vision row where the model puts the token's own embedding.
                value[image_token] = 0
            p.copy_(value.half().float())


def answer(model: Any, ids: list[int], pixels: torch.Tensor | None) -> dict[str, Any]:
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    with torch.no_grad():
        out = model.generate(**inputs, **({} if pixels is None else {"pixel_values": pixels}), max_new_tokens=STEPS, do_sample=False,
                             eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
    tokens = out.sequences[0, len(ids):].tolist()
    logits = torch.stack([step[0] for step in out.logits])
    best = logits.topk(2).values
    assert len(tokens) == STEPS
    return {"tiles": 0 if pixels is None else len(pixels), "ids": packed(ids), "tokens": tokens,
            "leastMargin": round(float((best[:, 0] - best[:, 1]).min()), 6),
            "logits": {str(step): [round(v, 6) for v in logits[step].tolist()[::4]] for step in (0, STEPS - 1)}}


def record(processor: Any, tokenizer: Tokenizer, model: Any, case: dict[str, Any]) -> dict[str, Any]:
    pictures = []
    for name in case["images"]:
        with Image.open(SOURCES / name) as image:
            pictures.append(ImageOps.exif_transpose(image).convert("RGB"))
    text = processor.apply_chat_template(case["messages"], add_generation_prompt=True, tokenize=False)
    inputs = processor(images=pictures or None, text=text, return_tensors="pt")
    _, query = chat_query(TEMPLATE, case["messages"], [p.size for p in pictures], PER_TILE)
    other = torch.cat([torch.from_numpy(chat_pixels(p)) for p in pictures]) if pictures else None
    return {**case, "hf": answer(model, inputs["input_ids"][0].tolist(), inputs.get("pixel_values")),
            "chat": answer(model, tokenizer.encode(query).ids, other)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/golden/internvl-tiny"))
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.checkpoint or Path(scratch)
        hf, other = folder / "hf", folder / "chat"
        write_folders(hf, other)
        model = InternVLForConditionalGeneration(AutoConfig.from_pretrained(hf)).eval()
        fill(model, model.config.image_token_id)
        with tempfile.TemporaryDirectory() as saved:
            model.save_pretrained(saved)
            shutil.copy(Path(saved) / "model.safetensors", hf / "model.safetensors")
        config, state = chat(model)
        dump(other / "config.json", json.loads((other / "config.json").read_text()) | config)
        save_file({name: value.contiguous() for name, value in state.items()}, other / "model.safetensors")
        processor, tokenizer = AutoProcessor.from_pretrained(hf), Tokenizer.from_file(str(other / "tokenizer.json"))
        cases: dict[str, Any] = {}
        for name, case in CASES.items():
            cases[name] = record(processor, tokenizer, model, case)
            for layout in ("hf", "chat"):
                made = cases[name][layout]
                print(f"{name:16s} {layout:4s} {len(set(made['tokens'])):3d} distinct, {made['tiles']:2d} tiles, least margin {made['leastMargin']}")
        for layout in ("hf", "chat"):
            assert len({tuple(case[layout]["tokens"]) for case in cases.values()}) == len(cases), "answers do not depend on their pictures"
        export(Options(hf, args.out, target="ai100", force=True))
        (args.out / "chat").mkdir()
        for file in other.iterdir():
            if file.suffix == ".json":
                shutil.copy(file, args.out / "chat" / file.name)
    (args.out / "goldens.json").write_text(json.dumps({"versions": VERSIONS, "steps": STEPS, "cases": cases}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

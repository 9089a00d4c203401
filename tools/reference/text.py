"""Goldens of texts: token ids and decoded texts by `tokenizers`, prompts by transformers' InternVLProcessor, and prompts
of the OpenGVLab layout by the published algorithm.

    python tools/reference/text.py [--model models/shapes-internvl] [--out test/golden/text]
"""
from __future__ import annotations

import argparse
import hashlib
import json
import random
from pathlib import Path

import PIL
import tokenizers
import transformers
from text_pixels import pixel_cases
from text_prompts import chat_prompts, hf_prompts, write_chat_folder, write_hf_folder
from text_samples import corpus
from text_specials import special_cases
from text_templates import template_cases
from text_tokenizers import BUILDERS
from tokenizers import Tokenizer

VERSIONS = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}


def random_ids(tokenizer: Tokenizer, count: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    return [[rng.randrange(size) for _ in range(rng.randint(1, 30))] for _ in range(count)]


def vocabulary(tokenizer: Tokenizer) -> str:
    """Digest of all tokens in order of their ids: tells goldens of an older tokenizer apart from a defect."""
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    return hashlib.sha256("\n".join(token for token, _ in tokens).encode()).hexdigest()


def golden(tokenizer: Tokenizer, seed: int) -> dict[str, object]:
    encoded = []
    for text in corpus():
        ids = tokenizer.encode(text, add_special_tokens=True).ids
        encoded.append({
            "text": text, "ids": ids, "plain": tokenizer.encode(text, add_special_tokens=False).ids,
            "kept": tokenizer.decode(ids, skip_special_tokens=False), "skipped": tokenizer.decode(ids, skip_special_tokens=True),
        })
    decoded = [{"ids": ids, "kept": tokenizer.decode(ids, skip_special_tokens=False),
                "skipped": tokenizer.decode(ids, skip_special_tokens=True)} for ids in random_ids(tokenizer, 200, seed)]
    return {"versions": VERSIONS, "vocabulary": vocabulary(tokenizer), "encoded": encoded, "decoded": decoded}


def write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, ensure_ascii=True, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=Path("models/shapes-internvl"))
    parser.add_argument("--out", type=Path, default=Path("test/golden/text"))
    args = parser.parse_args()
    write(args.out / "shapes.json", golden(Tokenizer.from_file(str(args.model / "tokenizer.json")), 1))
    for seed, (name, build) in enumerate(BUILDERS.items(), 2):
        tokenizer = build()
        (args.out / name).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(args.out / name / "tokenizer.json"), pretty=False)
        write(args.out / f"{name}.json", golden(tokenizer, seed))
    write(args.out / "prompts-shapes.json", {"versions": VERSIONS, "cases": hf_prompts(args.model)})
    hf = args.out / "internvl-hf"
    write_hf_folder(hf, args.out / "qwen2" / "tokenizer.json")
    write(args.out / "prompts-internvl-hf.json", {"versions": VERSIONS, "cases": hf_prompts(hf)})
    for template in ("internvl2_5", "Hermes-2", "phi3-chat"):
        folder = args.out / f"internvl-chat-{template}"
        base = "llama2" if template == "phi3-chat" else "qwen2"
        write_chat_folder(folder, args.out / base / "tokenizer.json", template)
        write(args.out / f"prompts-{folder.name}.json", {"versions": VERSIONS, "cases": chat_prompts(folder)})
    write(args.out / "pixels.json", {"versions": {**VERSIONS, "pillow": PIL.__version__}, "cases": pixel_cases(args.model)})
    write(args.out / "templates.json", {"versions": VERSIONS, "cases": template_cases()})
    write(args.out / "specials.json", {"versions": VERSIONS, "cases": special_cases(args.model)})


if __name__ == "__main__":
    main()

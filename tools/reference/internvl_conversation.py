"""Prompts of the OpenGVLab layout by its published conversation.py itself, for every template that models name.

    git clone https://github.com/OpenGVLab/InternVL
    python tools/reference/internvl_conversation.py InternVL

The module is imported from that checkout, not restated; turns are handed to it as chat() of the published model code does.
Token ids are those of `tokenizers` for the prompt with its images expanded, under a tokenizer with a BOS and one without.
"""
from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import tokenizers
from text_prompts import CONVERSATIONS, packed, question, tiles
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
TEXT = ROOT / "test" / "golden" / "text"
MODULE = Path("internvl_chat/internvl/conversation.py")
# Models of InternLM2 and Phi-3 have a tokenizer with a BOS that is written, those of Qwen and Hermes (Yi) none.
TEMPLATES = {"internvl2_5": "qwen2", "Hermes-2": "qwen2", "internlm2-chat": "llama2", "phi3-chat": "llama2"}


def published(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("conversation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["conversation"] = module
    spec.loader.exec_module(module)
    return module


def prompts(module: ModuleType, template: str, tokenizer: Tokenizer) -> list[dict[str, object]]:
    cases = []
    for name, turns, sizes in CONVERSATIONS:
        talk = module.get_conv_template(template)
        seen = 1
        for turn in turns:
            parts = turn["content"] if isinstance(turn["content"], list) else []
            if turn["role"] == "system":
                talk.system_message = parts[0]["text"]
                continue
            images = sum(p["type"] == "image" for p in parts)
            words = question(turn, range(seen, seen + images), len(sizes) > 1)
            seen += images
            talk.append_message(talk.roles[0 if turn["role"] == "user" else 1], words)
        talk.append_message(talk.roles[1], None)
        rendered = talk.get_prompt()
        query = rendered
        for size in sizes:
            query = query.replace("<image>", "<img>" + "<IMG_CONTEXT>" * (256 * tiles(*size)) + "</img>", 1)
        cases.append({"name": name, "messages": turns, "sizes": sizes, "rendered": rendered,
                      "ids": packed(tokenizer.encode(query).ids)})
    return cases


def main() -> None:
    path = Path(sys.argv[1]) / MODULE
    module = published(path)
    out = {
        "made by": "tools/reference/internvl_conversation.py",
        "versions": {"tokenizers": tokenizers.__version__,
                     f"OpenGVLab/InternVL {MODULE}": hashlib.sha256(path.read_bytes()).hexdigest()},
        "templates": [],
    }
    for template, base in TEMPLATES.items():
        tokenizer = Tokenizer.from_file(str(TEXT / base / "tokenizer.json"))
        out["templates"].append({  # type: ignore[attr-defined]
            "template": template, "tokenizer": base, "end": module.get_conv_template(template).sep.strip(),
            "cases": prompts(module, template, tokenizer)})
    (TEXT / "internvl-conversation.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""Which tokens count as special: what transformers leaves out of a decoded text, for each way to name one."""
from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

REF = {"content": "<ref>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
CONFIGS: dict[str, dict[str, object]] = {
    "nothing": {},
    "additional_special_tokens": {"additional_special_tokens": ["<ref>"]},
    "extra_special_tokens, a list": {"extra_special_tokens": ["<ref>"]},
    "extra_special_tokens, by name": {"extra_special_tokens": {"ref_token": "<ref>"}},
    "a usual name": {"sep_token": "<ref>"},
    "a usual name, as an object": {"sep_token": {"__type": "AddedToken", **REF}},
    "added_tokens_decoder": {"added_tokens_decoder": {"634": REF}},
    "added_tokens_decoder, not special": {"added_tokens_decoder": {"634": {**REF, "special": False}}},
}
TEXT = "<|im_start|>user\n<ref>red</ref><box>[[1, 2, 3, 4]]</box><|im_end|>"


def special_cases(model: Path) -> list[dict[str, object]]:
    from transformers import AutoTokenizer

    cases = []
    for name, change in CONFIGS.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(model / "tokenizer.json", folder)
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", **change}
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            ids = tokenizer.encode(TEXT)
            cases.append({"name": name, "config": config, "ids": ids, "skipped": tokenizer.decode(ids, skip_special_tokens=True)})
    return cases

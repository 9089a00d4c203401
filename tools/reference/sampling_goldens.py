"""What transformers' logits processors leave of given logits, and torch's float16 roundings.

    python tools/reference/sampling_goldens.py      # writes test/golden/sampling.json
"""
from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "sampling.json"
TINY = Qwen2Config(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)


def processed(logits: np.ndarray, seen: list[int], **options: float) -> dict[str, object]:
    """The list that generate() itself builds, in its order, applied to one row."""
    model = Qwen2ForCausalLM(TINY)
    sample = options.get("temperature", 0) != 0
    given = {k: v for k, v in options.items() if sample or k == "repetition_penalty"}
    config = GenerationConfig(do_sample=sample, num_beams=1, **{"top_k": 0, **given} if sample else given)
    config._eos_token_tensor = None
    processors = model._get_logits_processor(generation_config=config, input_ids_seq_length=len(seen), encoder_input_ids=None,
                                             prefix_allowed_tokens_fn=None, logits_processor=[], device="cpu", model_kwargs={})
    scores = processors(torch.tensor([seen]), torch.tensor(logits[None], dtype=torch.float32))[0]
    kept = torch.isfinite(scores).nonzero()[:, 0]
    return {"options": options, "order": [type(p).__name__ for p in processors], "seen": seen,
            "kept": kept.tolist(), "scores": scores[kept].tolist()}


def rows() -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    flat = rng.normal(0, 1, 300)
    steep = rng.normal(0, 4, 300)
    ties = np.round(rng.normal(0, 2, 64))
    masked = rng.normal(0, 3, 100)
    masked[rng.integers(0, 100, 30)] = -np.inf
    wide = rng.normal(0, 2.5, 5000)
    return [(n, v.astype(np.float32)) for n, v in [("flat", flat), ("steep", steep), ("ties", ties), ("masked", masked), ("wide", wide)]]


OPTIONS: list[dict[str, float]] = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.6, "top_k": 5},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 0.9, "top_k": 1000},
    {"temperature": 1.0, "top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.3},
    {"temperature": 1.3, "top_p": 0.999},
    {"temperature": 1.0, "top_p": 1e-6},
    {"temperature": 1.0, "min_p": 0.05},
    {"temperature": 2.0, "min_p": 0.3},
    {"temperature": 1.0, "min_p": 1.0},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.85, "min_p": 0.02, "repetition_penalty": 1.3},
    {"temperature": 1.1, "top_k": 12, "top_p": 0.5, "repetition_penalty": 0.8},
    {"temperature": 0, "repetition_penalty": 1.7},
]


def halves() -> dict[str, list[int]]:
    """float32 bit patterns and their float16 bits: random ones, and all that lie on or beside a rounding boundary."""
    rng = np.random.default_rng(11)
    anything = rng.integers(0, 2**32, 300, dtype=np.uint64).astype(np.uint32)
    usual = rng.normal(0, 100, 100).astype(np.float32).view(np.uint32)
    every = np.arange(0, 0x7C00, 97, dtype=np.uint16).view(np.float16).astype(np.float32)
    after = (np.arange(0, 0x7C00, 97, dtype=np.uint16) + 1).astype(np.uint16).view(np.float16).astype(np.float32)
    middle = ((every.astype(np.float64) + after) / 2).astype(np.float32).view(np.uint32)
    edges = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x477FEFFF, 0x477FF000, 0x477FE000, 0x33000000, 0x33000001,
                      0x33800000, 0x38800000, 0x387FFFFF, 0x38000000, 1, 0x7F7FFFFF], dtype=np.uint32)
    bits = np.concatenate([anything, usual, middle, middle + 1, middle - 1, edges]).astype(np.uint32)
    out = torch.tensor(bits.view(np.float32)).to(torch.float16).numpy().view(np.uint16)
    return {"float32": bits.tolist(), "float16": out.tolist()}


def main() -> None:
    cases = []
    for name, logits in rows():
        seen = [3, 5, 5, 17, 40, 63]
        shown = [None if np.isneginf(x) else float(x) for x in logits]
        results = [processed(logits, seen, **o) for o in OPTIONS]
        for r in results:
            if len(r["kept"]) > 400:  # type: ignore[arg-type]
                r["scores"] = r["scores"][:50]  # type: ignore[index]
        cases.append({"name": name, "logits": shown, "results": results})
    OUT.write_text(json.dumps({
        "made by": "tools/reference/sampling_goldens.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__, "numpy": np.__version__},
        "cases": cases, "halves": halves()}) + "\n")
    print(OUT.name, OUT.stat().st_size, "bytes;", cases[0]["results"][12]["order"])


if __name__ == "__main__":
    main()

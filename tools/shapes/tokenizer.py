"""Builds tokenizer.json: a small byte-level BPE in which every coordinate 0, 10, ... 1000 is one token."""
from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from . import questions
from .prompt import SYSTEM
from .world import COLORS, SHAPES, image_size, make_scene

SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>",
    "<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>",
)
# Markup of answers stays readable after decoding with skip_special_tokens, as in InternVL.
VISIBLE = ("<ref>", "</ref>", "<box>", "</box>", "<quad>", "</quad>")
VOCAB = 640
PIECES = r", (?=\p{N})| ?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"


def _splitter() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def number_merges() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens and merges that make one token of each multiple of ten up to 1000."""
    pairs = [("0", "0")] + [(str(d), "0") for d in range(1, 10)]
    pairs += [(str(h), f"{t}0") for h in range(1, 10) for t in range(10)]
    pairs.append(("100", "0"))
    return [a + b for a, b in pairs], pairs


def corpus(seed: int = 5, scenes: int = 4000) -> Iterator[str]:
    rng = np.random.default_rng(seed)
    for _ in range(scenes):
        scene = make_scene(rng, *image_size(rng, 80, 400))
        for turn in (questions.random_turn(rng, scene) for _ in range(4)):
            question = turn.question.lower() if turn.question.isupper() else turn.question
            answer = "[[5, 5, 5, 5]]" if turn.kind == "ground" else turn.answer
            yield f"{question}\n{answer}\n"
    for words in (("system", "user", "assistant", SYSTEM, "there is no"), COLORS, SHAPES, tuple(s + "s" for s in SHAPES)):
        for word in words:
            yield from (word,) * 3000


def build_tokenizer() -> Tokenizer:
    numbers, merges = number_merges()
    base = Tokenizer(BPE())
    base.pre_tokenizer = _splitter()
    size = VOCAB - len(numbers) - len(SPECIALS)
    base.train_from_iterator(corpus(), BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    learned = json.loads(base.to_str())["model"]
    vocab: dict[str, int] = dict(learned["vocab"])
    for token in numbers:
        vocab.setdefault(token, len(vocab))
    rules = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learned["merges"]]
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=rules + merges))  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.ByteLevel()
    for token in SPECIALS:
        added = AddedToken(token, special=token not in VISIBLE, normalized=False)
        (tokenizer.add_tokens if token in VISIBLE else tokenizer.add_special_tokens)([added])
    return tokenizer

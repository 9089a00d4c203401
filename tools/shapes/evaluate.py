"""Measures a model folder on held-out scenes: python -m tools.shapes.evaluate models/shapes-internvl

Pictures go through the reference's own processor (Pillow backend), answers come greedily from the folder's
vision.onnx and language.onnx. The scenes are drawn from a seed that training never uses.
"""
from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import prompt
from .data import any_size
from .draw import draw_scene
from .questions import KINDS, Turn, conversation, random_turn
from .world import Scene, make_scene

HELD_OUT = 20_000
BOX = re.compile(r"<ref>(.*?)</ref><box>\[\[(\d+), (\d+), (\d+), (\d+)\]\]</box>")


@dataclass
class Result:
    kind: str
    shapes: int
    tiles: int
    right: bool
    iou: float | None = None


class Seer:
    """Processor, tokenizer and the two programs of a folder; the image prefix is prefilled once a picture."""

    def __init__(self, folder: Path, threads: int = 1, ctx_len: int = 512) -> None:
        from transformers import AutoProcessor
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

        from ..export.vlm_export.runtime import DualProgram

        self.processor: Any = AutoProcessor.from_pretrained(folder)
        self.processor.image_processor = GotOcr2ImageProcessorPil.from_pretrained(folder)
        self.tokenizer = self.processor.tokenizer
        self.programs = DualProgram(folder, threads)
        self.eos, self.ctx_len = self.tokenizer.convert_tokens_to_ids("<|im_end|>"), ctx_len

    def look(self, image: Any) -> tuple[np.ndarray, np.ndarray]:
        pixels = self.processor.image_processor(image, return_tensors="np")["pixel_values"]
        return pixels, self.programs.encode(np.asarray(pixels, np.float32))

    def begin(self, image: Any) -> tuple[dict[str, np.ndarray], int, int]:
        pixels, vision = self.look(image)
        ids = self.tokenizer.encode(prompt.prefix(len(pixels)), add_special_tokens=False)
        state = self.programs.state(1, self.ctx_len)
        self.feed(state, ids, 0, vision)
        return state, len(ids), len(pixels)

    def feed(self, state: dict[str, np.ndarray], ids: list[int], position: int, vision: np.ndarray | None = None) -> np.ndarray:
        rows = vision if vision is not None else np.zeros((1, 1, self.programs.hidden), np.float32)
        positions = np.arange(position, position + len(ids), dtype=np.int64)[None]
        return self.programs.step(state, np.array([ids], np.int64), positions, rows, np.zeros((1, 1), np.int64))[0]

    def ask(self, state: dict[str, np.ndarray], position: int, text: str, limit: int = 100) -> tuple[str, int]:
        """Adds the text to the state, answers greedily; the state then holds the whole turn."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        logits = self.feed(state, ids, position)
        position += len(ids)
        out: list[int] = []
        while len(out) < limit and (token := int(logits[0, 0].argmax())) != self.eos:
            out.append(token)
            logits = self.feed(state, [token], position)
            position += 1
        self.feed(state, [self.eos], position)
        return self.tokenizer.decode(out, skip_special_tokens=True), position + 1


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def judge(turn: Turn, answer: str) -> tuple[bool, float | None]:
    """Exact text, except that a box counts from an IoU of 0.5 with the true, unrounded one."""
    if turn.kind != "ground" or turn.subject is None:
        return answer == turn.answer, None
    found = BOX.fullmatch(answer)
    if not found:
        return False, 0.0
    overlap = iou(tuple(int(v) / 1000 for v in found.groups()[1:]), turn.subject.box)
    return found.group(1) == turn.subject.name and overlap >= 0.5, overlap


def scene_results(seer: Seer, rng: np.random.Generator, scene: Scene, image: Any, wrong: list[dict[str, object]]) -> list[Result]:
    base, start, tiles = seer.begin(image)
    results: list[Result] = []

    def note(kind: str, turn: Turn, answer: str) -> None:
        right, overlap = judge(turn, answer)
        results.append(Result(kind, len(scene.shapes), tiles, right, overlap))
        if not right:
            wrong.append({"kind": kind, "size": [scene.width, scene.height], "shapes": len(scene.shapes),
                          "question": turn.question, "expected": turn.answer, "answer": answer})

    for kind in KINDS:
        turn = random_turn(rng, scene, kind)
        if turn.kind != kind:
            continue
        answer, _ = seer.ask({k: v.copy() for k, v in base.items()}, start, prompt.asked(turn.question))
        note(kind, turn, answer)
    state, position = {k: v.copy() for k, v in base.items()}, start
    for index, turn in enumerate(conversation(rng, scene, 3)):
        text = (prompt.NEXT_USER if index else "") + prompt.asked(turn.question)
        # The end mark is in the state; the newline that follows it belongs to the next turn.
        answer, position = seer.ask(state, position, ("\n" if index else "") + text)
        if index:
            note("follow-up", turn, answer)
    return results


GROUPS = {"look-up (colour, shape, size)": ("color", "shape", "size"), "existence": ("exist",),
          "count": ("count", "count_shape", "count_color"), "grounding (IoU >= 0.5)": ("ground",), "caption (exact)": ("caption",),
          "relation": ("relation",), "follow-up turns": ("follow-up",)}


def share(results: list[Result]) -> str:
    return f"{100 * np.mean([r.right for r in results]):.1f}" if results else "-"


def table(results: list[Result]) -> str:
    """Markdown: accuracy in percent of each group of kinds, by number of shapes and by number of tiles."""
    shapes, tiles = sorted({r.shapes for r in results}), sorted({r.tiles for r in results})
    head = ["question", "n", "all", *[f"{n} shape{'s' * (n > 1)}" for n in shapes], *[f"{t} tile{'s' * (t > 1)}" for t in tiles]]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    rows = [(name, [r for r in results if r.kind in kinds]) for name, kinds in GROUPS.items()]
    for name, chosen in rows:
        cells = [name, str(len(chosen)), f"**{share(chosen)}**"]
        cells += [share([r for r in chosen if r.shapes == n]) for n in shapes] + [share([r for r in chosen if r.tiles == t]) for t in tiles]
        lines.append(" | ".join(cells))
    boxes = [r for r in results if r.kind == "ground" and r.iou is not None]
    mean = lambda part: f"{np.mean([r.iou for r in part]):.3f}" if part else "-"  # noqa: E731
    lines.append(" | ".join(["mean IoU", str(len(boxes)), f"**{mean(boxes)}**", *[mean([r for r in boxes if r.shapes == n]) for n in shapes],
                             *[mean([r for r in boxes if r.tiles == t]) for t in tiles]]))
    return "\n".join(f"| {line} |" for line in lines)


def measure(model: Path, seed: int, most: float, indices: range) -> tuple[list[Result], list[dict[str, object]]]:
    """The results of the scenes with these indices; a scene depends on nothing but the seed and its index."""
    seer = Seer(model)
    results: list[Result] = []
    wrong: list[dict[str, object]] = []
    for index in indices:
        rng = np.random.default_rng([seed, index])
        scene = make_scene(rng, *any_size(rng, most))
        results += scene_results(seer, rng, scene, draw_scene(rng, scene), wrong)
    return results, wrong


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.shapes.evaluate", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=HELD_OUT)
    parser.add_argument("--most", type=float, default=1600, help="largest geometric mean of width and height")
    parser.add_argument("--json", type=Path, help="write the figures and the wrong answers here")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    results: list[Result] = []
    wrong: list[dict[str, object]] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        parts = [pool.submit(measure, args.model, args.seed, args.most, range(j, args.scenes, args.jobs)) for j in range(args.jobs)]
        for part in parts:
            results += part.result()[0]
            wrong += part.result()[1]
    print(table(results))
    kinds: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        kinds[r.kind].append(r)
    print("\n" + "\n".join(f"{k:12s} n={len(v):5d}  {share(v)} %" for k, v in kinds.items()))
    if args.json:
        facts = {"scenes": args.scenes, "seed": args.seed, "accuracy": {k: share(v) for k, v in kinds.items()}, "wrong": wrong}
        args.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

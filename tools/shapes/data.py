"""Training data: pools of drawn scenes on disk, and batches packed with questions and answers."""
from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from . import prompt
from .draw import draw_scene
from .questions import Turn, conversation, random_turn
from .world import COLORS, SHAPES, SIZES, Scene, image_size, make_scene

TILE = 112
MAX_TILES = 4
LENGTH = 208
SHORT = 144
NO_IMAGE = "there is no image"
Grid = tuple[int, int]


def grid_of(width: int, height: int, size: int = TILE, most: int = MAX_TILES) -> Grid:
    """Columns and rows of the tiling: nearest aspect ratio, on a tie more tiles while the image fills half of them."""
    best, best_gap = (1, 1), float("inf")
    grids = sorted(((c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most), key=lambda g: g[0] * g[1])
    for columns, rows in grids:
        gap = abs(width / height - columns / rows)
        if gap < best_gap or (gap == best_gap and width * height > 0.5 * size * size * columns * rows):
            best, best_gap = (columns, rows), gap
    return best


def tiles_of(image: Image.Image) -> tuple[np.ndarray, Grid]:
    """uint8 [tiles, 3, 112, 112]: the grid row by row, then the whole image where there is more than one tile."""
    columns, rows = grid_of(image.width, image.height)
    big = np.asarray(image.resize((TILE * columns, TILE * rows), Image.Resampling.BICUBIC))
    parts = [big[r * TILE : (r + 1) * TILE, c * TILE : (c + 1) * TILE] for r in range(rows) for c in range(columns)]
    if len(parts) > 1:
        parts.append(np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC)))
    return np.stack(parts).transpose(0, 3, 1, 2), (columns, rows)


def any_size(rng: np.random.Generator, most: float) -> tuple[int, int]:
    """A quarter small and squarish (one tile), 37 % squarish and larger (2 x 2 tiles), the rest anything."""
    kind = rng.random()
    if kind < 0.25:
        width = int(rng.integers(72, 180))
        height = int(round(width * rng.uniform(0.8, 1.35)))
        return (width, height) if width * height <= TILE * TILE * 2 else (112 + width // 8, 112 + width // 10)
    if kind < 0.62:
        side = float(np.exp(rng.uniform(np.log(165), np.log(most))))
        ratio = float(rng.choice([1.0, 4 / 3, 3 / 4, 3 / 2, 2 / 3, 5 / 4])) if rng.random() < 0.5 else rng.uniform(0.72, 1.45)
        return round(side * ratio**0.5), round(side / ratio**0.5)
    return image_size(rng, 70, most)


def write_pool(folder: Path, seed: int, shards: int, scenes: int = 1000, most: float = 430) -> None:
    """Shards of drawn scenes; a shard is named only when it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        path = folder / f"{seed}-{shard:04d}"
        if path.with_suffix(".pkl").exists():
            continue
        rng = np.random.default_rng([seed, shard])
        tiles, facts = [], []
        for _ in range(scenes):
            scene = make_scene(rng, *any_size(rng, most))
            pixels, grid = tiles_of(draw_scene(rng, scene))
            tiles.append(pixels)
            facts.append((scene, grid))
        np.save(path.with_suffix(".npy"), np.concatenate(tiles))
        path.with_suffix(".tmp").write_bytes(pickle.dumps(facts))
        path.with_suffix(".tmp").rename(path.with_suffix(".pkl"))


class Pool:
    """All whole shards of a folder, memory-mapped; `refresh` picks up new ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: set[Path] = set()
        self.items: list[tuple[np.ndarray, Scene, Grid]] = []
        self.refresh()

    def refresh(self) -> int:
        for path in sorted(self.folder.glob("*.pkl")):
            if path not in self.known:
                self.known.add(path)
                pixels = np.load(path.with_suffix(".npy"), mmap_mode="r")
                start = 0
                for scene, grid in pickle.loads(path.read_bytes()):
                    count = grid[0] * grid[1] + (grid != (1, 1))
                    self.items.append((pixels[start : start + count], scene, grid))
                    start += count
        return len(self.items)


@dataclass
class Batch:
    tiles: np.ndarray  # uint8 [N, 3, 112, 112]
    ids: np.ndarray  # int64 [B, L]
    positions: np.ndarray
    segments: np.ndarray  # 0 the shared prefix, 1.. conversations, -1 padding
    labels: np.ndarray  # the token that follows, -100 where it is not part of an answer
    soft: np.ndarray  # bool: the label is a box coordinate
    owner: np.ndarray  # index into `turns` of the answer a label belongs to
    turns: list[tuple[int, Turn]]  # row, turn
    targets: dict[str, np.ndarray]  # detection targets per image token


class Packer:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self.encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self.numbers = {tokenizer.token_to_id(str(n)): n for n in range(0, 1001, 10)}
        self.prefixes = {t: self.encode(prompt.prefix(t)) for t in (1, 3, 4, 5)}
        self.prefixes[0] = self.encode(prompt.prefix(0).replace("<img></img>\n", ""))
        self.next_user = self.encode(prompt.NEXT_USER)
        self.cache: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        if text not in self.cache:
            if len(self.cache) > 200_000:
                self.cache.clear()
            self.cache[text] = self.encode(text)
        return self.cache[text]

    def pack(self, rng: np.random.Generator, items: list[tuple[np.ndarray, Scene, Grid]], independent: float = 0.7, detect: bool = True,
             length: int = LENGTH, whole: float = 0.0) -> Batch:
        """`whole` is the share of tiled scenes shown as their whole-image tile alone."""
        rows = len(items)
        ids = np.zeros((rows, length), np.int64)
        batch = Batch(np.zeros(0), ids, np.zeros_like(ids), np.full_like(ids, -1), np.full_like(ids, -100),
                      np.zeros(ids.shape, bool), np.zeros_like(ids), [], {})
        used = []
        for row, (pixels, scene, grid) in enumerate(items):
            if len(pixels) > 1 and rng.random() < whole:
                pixels, grid = pixels[-1:], (1, 1)
            blind = detect and rng.random() < 0.015
            if not blind:
                used.append((pixels, scene, grid))
            self._row(rng, batch, row, scene, 0 if blind else len(pixels), independent)
        batch.tiles = np.concatenate([u[0] for u in used])
        if detect:
            batch.targets = stack_targets([detection_targets(s, g) for _, s, g in used])
        return batch

    def _row(self, rng: np.random.Generator, batch: Batch, row: int, scene: Scene, tiles: int, independent: float) -> None:
        prefix = self.prefixes[tiles]
        end = start = len(prefix)
        batch.ids[row, :end], batch.positions[row, :end], batch.segments[row, :end] = prefix, np.arange(end), 0
        segment, misses, length = 0, 0, batch.ids.shape[1]
        while misses < 3 and end < length - 12:
            talk = [random_turn(rng, scene)] if rng.random() < independent else conversation(rng, scene, int(rng.integers(2, 5)))
            position, segment = start, segment + 1
            for turn in talk:
                answer_text = turn.answer if tiles else NO_IMAGE
                lead = [] if position == start else self.next_user
                question, answer = lead + self.text(prompt.asked(turn.question)), self.text(prompt.answered(answer_text))
                size = len(question) + len(answer)
                if end + size > length:
                    misses += 1
                    break
                span = slice(end, end + size)
                batch.ids[row, span] = question + answer
                batch.positions[row, span] = np.arange(position, position + size)
                batch.segments[row, span] = segment
                first = end + len(question) - 1
                wanted = answer[:-1]
                batch.labels[row, first : first + len(wanted)] = wanted
                batch.owner[row, first : first + len(wanted)] = len(batch.turns)
                if turn.kind == "ground" and tiles:
                    batch.soft[row, first : first + len(wanted)] = [t in self.numbers for t in wanted]
                batch.turns.append((row, turn))
                end, position = end + size, position + size


def detection_targets(scene: Scene, grid: Grid, cells: int = 4) -> dict[str, np.ndarray]:
    """Per image token [tiles * 16]: which shape has its centre there, and its box in fractions of the tile."""
    columns, rows = grid
    frames = [(c / columns, r / rows, 1 / columns, 1 / rows) for r in range(rows) for c in range(columns)]
    whole = len(frames) == 1
    if not whole:
        frames.append((0.0, 0.0, 1.0, 1.0))
    count = len(frames) * cells * cells
    kind, color, size = (np.full(count, -1, np.int64) for _ in range(3))
    box = np.zeros((count, 4), np.float32)
    for index, (left, top, width, height) in enumerate(frames):
        for shape in sorted(scene.shapes, key=lambda s: s.size == "large"):
            x, y = (shape.center[0] - left) / width, (shape.center[1] - top) / height
            if not (0 <= x < 1 and 0 <= y < 1):
                continue
            column, line = int(x * cells), int(y * cells)
            at = index * cells * cells + line * cells + column
            kind[at], color[at] = SHAPES.index(shape.kind), COLORS.index(shape.color)
            size[at] = SIZES.index(shape.size) if index == len(frames) - 1 else -1
            edges = ((shape.box[0] - left) / width, (shape.box[1] - top) / height, (shape.box[2] - left) / width, (shape.box[3] - top) / height)
            box[at] = np.clip(edges, -0.5, 1.5)
    return {"kind": kind, "color": color, "size": size, "box": box}


def stack_targets(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(prog="tools.shapes.data", description="Draws a pool of training scenes.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=30)
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    write_pool(args.folder, args.seed, args.shards, args.scenes)


if __name__ == "__main__":
    main()

"""The world the demonstration model knows: shapes, colours, sizes, and how a scene is laid out.

Every rule an answer depends on is stated here, so that a question never has two right answers:

- a scene holds 1 to 6 shapes and no colour-shape pair twice;
- the side of a shape is sqrt(box width x box height) / sqrt(image width x image height);
  small means 0.12 to 0.17, large 0.24 to 0.34, nothing lies between;
- A is left of B when A's box centre is more than 3 % of the image width further left (above: of the height);
  two centres are either closer than 1.2 % or further apart than 4.5 % on each axis, never in between;
- shapes are listed left to right by the centre of their boxes, those in one column top to bottom.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "star")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "black")
SIZES = ("small", "large")
SIDE = {"small": (0.12, 0.17), "large": (0.24, 0.34)}
RELATIONS = ("left", "right", "above", "below")
MARGIN = 0.03
TIE = 0.012
CLEAR = 0.045
MAX_SHAPES = 6
MAX_LARGE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 3, 6: 3}

# A five-pointed star of circumradius 1 spans 2*sin(72 deg) by 1 + cos(36 deg).
STAR_W = 2 * math.sin(math.radians(72))
STAR_H = 1 + math.cos(math.radians(36))


@dataclass(frozen=True)
class Shape:
    """One drawn shape; the box is in fractions of the image width and height."""

    kind: str
    color: str
    size: str
    box: tuple[float, float, float, float]

    @property
    def center(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    @property
    def name(self) -> str:
        return f"{self.color} {self.kind}"

    @property
    def phrase(self) -> str:
        return f"a {self.size} {self.color} {self.kind}"

    def box1000(self) -> tuple[int, int, int, int]:
        """The box in thousandths of the image, rounded to tens."""
        values = [min(1000, max(0, int(round(v * 100)) * 10)) for v in self.box]
        return values[0], values[1], values[2], values[3]


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    shapes: tuple[Shape, ...]

    def ordered(self) -> list[Shape]:
        return order(self.shapes)


def order(shapes: tuple[Shape, ...] | list[Shape]) -> list[Shape]:
    """Left to right; shapes of one column (centres within the tie distance) top to bottom."""
    by_x = sorted(shapes, key=lambda s: s.center[0])
    columns: list[list[Shape]] = []
    for shape in by_x:
        if columns and shape.center[0] - columns[-1][-1].center[0] < MARGIN:
            columns[-1].append(shape)
        else:
            columns.append([shape])
    return [s for column in columns for s in sorted(column, key=lambda s: s.center[1])]


def related(scene: Scene, anchor: Shape, relation: str) -> list[Shape]:
    """All shapes that stand in the relation to the anchor, in caption order."""
    axis = 0 if relation in ("left", "right") else 1
    sign = -1 if relation in ("left", "above") else 1
    return [s for s in scene.ordered() if s is not anchor and sign * (s.center[axis] - anchor.center[axis]) > MARGIN]


def image_size(rng: np.random.Generator, low: float, high: float) -> tuple[int, int]:
    """An image size whose geometric mean lies between low and high, aspect ratio 1:3 to 3:1."""
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    kind = rng.random()
    if kind < 0.3:
        ratio = float(rng.choice([1.0, 4 / 3, 3 / 2, 16 / 9, 3 / 4, 2 / 3, 9 / 16]))
    else:
        ratio = math.exp(rng.uniform(-math.log(2.97), math.log(2.97)))
    width, height = max(40, round(side * math.sqrt(ratio))), max(40, round(side / math.sqrt(ratio)))
    return min(width, height * 3), min(height, width * 3)


def _extent(kind: str, side: float, scale: float) -> tuple[float, float]:
    """Box width and height in pixels of a shape whose geometric mean side is `side` of the image's."""
    pixels = side * scale
    if kind == "star":
        ratio = math.sqrt(STAR_W / STAR_H)
        return pixels * ratio, pixels / ratio
    return pixels, pixels


def _allowed(center: tuple[float, float], others: list[Shape]) -> bool:
    for other in others:
        for axis in (0, 1):
            gap = abs(center[axis] - other.center[axis])
            if TIE < gap < CLEAR:
                return False
    return True


def _apart(box: tuple[float, float, float, float], others: list[Shape], gap: tuple[float, float]) -> bool:
    return all(
        box[2] + gap[0] <= o.box[0] or o.box[2] + gap[0] <= box[0] or box[3] + gap[1] <= o.box[1] or o.box[3] + gap[1] <= box[1]
        for o in others
    )


def _place(rng: np.random.Generator, width: int, height: int, names: list[tuple[str, str, str]]) -> list[Shape] | None:
    scale = math.sqrt(width * height)
    pad = (0.012 * scale / width, 0.012 * scale / height)
    gap = (0.022 * scale / width, 0.022 * scale / height)
    align = rng.random() < 0.35
    placed: list[Shape] = []
    for kind, color, size in names:
        for _ in range(60):
            w, h = _extent(kind, rng.uniform(*SIDE[size]), scale)
            half = (w / width / 2, h / height / 2)
            if half[0] * 2 + pad[0] * 2 > 1 or half[1] * 2 + pad[1] * 2 > 1:
                continue
            center = [rng.uniform(half[a] + pad[a], 1 - half[a] - pad[a]) for a in (0, 1)]
            if align and placed and rng.random() < 0.5:
                axis = int(rng.integers(2))
                center[axis] = placed[int(rng.integers(len(placed)))].center[axis] + rng.uniform(-0.003, 0.003)
                if not half[axis] + pad[axis] <= center[axis] <= 1 - half[axis] - pad[axis]:
                    continue
            box = (center[0] - half[0], center[1] - half[1], center[0] + half[0], center[1] + half[1])
            if _allowed((center[0], center[1]), placed) and _apart(box, placed, gap):
                placed.append(Shape(kind, color, size, box))
                break
        else:
            return None
    return placed


def make_scene(rng: np.random.Generator, width: int, height: int, count: int | None = None) -> Scene:
    """A random scene of the given image size; `count` fixes the number of shapes."""
    wanted = count if count is not None else int(rng.choice(6, p=[0.1, 0.16, 0.2, 0.2, 0.17, 0.17])) + 1
    while True:
        pairs = [(k, c) for k in SHAPES for c in COLORS]
        # Scenes drawn from a few kinds or colours make counting and "the circle" worth asking.
        if rng.random() < 0.5:
            kinds = list(rng.permutation(SHAPES)[: int(rng.integers(1, 4))])
            colors = list(rng.permutation(COLORS)[: int(rng.integers(2, 6))])
            few = [(k, c) for k, c in pairs if k in kinds and c in colors]
            pairs = few if len(few) >= wanted else pairs
        chosen = [pairs[i] for i in rng.permutation(len(pairs))[:wanted]]
        sizes = [str(rng.choice(SIZES)) for _ in chosen]
        large = [i for i, s in enumerate(sizes) if s == "large"]
        for i in large[MAX_LARGE[wanted]:]:
            sizes[i] = "small"
        names = sorted(((k, c, s) for (k, c), s in zip(chosen, sizes)), key=lambda n: n[2] != "large")
        for _ in range(8):
            placed = _place(rng, width, height, names)
            if placed is not None:
                return Scene(width, height, tuple(placed[i] for i in rng.permutation(len(placed))))

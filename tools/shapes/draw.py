"""Draws a scene with Pillow: antialiased shapes on a plain, tinted, graded or noisy background."""
from __future__ import annotations

import colorsys
import math

import numpy as np
from PIL import Image, ImageDraw

from .world import STAR_H, Scene, Shape

SUPER = 4
# Hue, saturation and value ranges: wide enough to vary, apart enough to name.
PAINT = {
    "red": ((-0.018, 0.012), (0.82, 1.0), (0.72, 0.98)),
    "orange": ((0.066, 0.092), (0.88, 1.0), (0.92, 1.0)),
    "yellow": ((0.142, 0.170), (0.78, 1.0), (0.90, 1.0)),
    "green": ((0.29, 0.40), (0.65, 1.0), (0.45, 0.75)),
    "blue": ((0.575, 0.645), (0.75, 1.0), (0.65, 0.98)),
    "purple": ((0.745, 0.815), (0.60, 0.95), (0.48, 0.75)),
    "black": ((0.0, 1.0), (0.0, 0.25), (0.02, 0.14)),
}
_NOISE = np.random.default_rng(7).standard_normal((1024, 1024, 3)).astype(np.float32)


def paint(rng: np.random.Generator, color: str) -> tuple[int, int, int]:
    h, s, v = (rng.uniform(*span) for span in PAINT[color])
    r, g, b = colorsys.hsv_to_rgb(h % 1.0, s, v)
    return round(r * 255), round(g * 255), round(b * 255)


def _light(rng: np.random.Generator) -> np.ndarray:
    kind = rng.random()
    if kind < 0.2:
        return np.full(3, rng.uniform(235, 255), np.float32)
    if kind < 0.35:
        return np.full(3, rng.uniform(170, 235), np.float32)
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.03, 0.22), rng.uniform(0.82, 1.0))
    return np.array(rgb, np.float32) * 255


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """float32 [height, width, 3]; plain or graded, with noise in about half the pictures."""
    first = _light(rng)
    field = np.broadcast_to(first, (height, width, 3)).astype(np.float32)
    if rng.random() < 0.25:
        second = first + rng.uniform(-25, 25, 3).astype(np.float32)
        across = rng.random() < 0.5
        ramp = np.linspace(0, 1, width if across else height, dtype=np.float32)
        ramp = ramp[None, :, None] if across else ramp[:, None, None]
        field = field * (1 - ramp) + second * ramp
    if rng.random() < 0.5:
        field = field + noise(rng, width, height, rng.uniform(2, 14))
    return np.clip(field, 0, 255)


def noise(rng: np.random.Generator, width: int, height: int, strength: float) -> np.ndarray:
    tiles_y, tiles_x = -(-height // 1024), -(-width // 1024)
    base = _NOISE if tiles_x == tiles_y == 1 else np.tile(_NOISE, (tiles_y, tiles_x, 1))
    y = int(rng.integers(0, base.shape[0] - height + 1))
    x = int(rng.integers(0, base.shape[1] - width + 1))
    return base[y : y + height, x : x + width] * strength


def _polygon(shape: Shape, box: tuple[float, float, float, float]) -> list[tuple[float, float]]:
    x0, y0, x1, y1 = box
    if shape.kind == "square":
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    if shape.kind == "triangle":
        return [((x0 + x1) / 2, y0), (x1, y1), (x0, y1)]
    radius = (y1 - y0) / STAR_H
    cx, cy = (x0 + x1) / 2, y0 + radius
    inner = radius * 0.45
    points = []
    for i in range(10):
        r = radius if i % 2 == 0 else inner
        angle = math.radians(-90 + 36 * i)
        points.append((cx + r * math.cos(angle), cy + r * math.sin(angle)))
    return points


def mask_of(shape: Shape, width: int, height: int) -> tuple[np.ndarray, int, int]:
    """Coverage (float32, 0..1) of the shape over the whole pixels it touches, and where that patch begins."""
    box = (shape.box[0] * width, shape.box[1] * height, shape.box[2] * width, shape.box[3] * height)
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[2]), math.ceil(box[3])
    factor = SUPER if max(right - left, bottom - top) < 500 else 2
    canvas = Image.new("L", ((right - left) * factor, (bottom - top) * factor), 0)
    local = tuple((v - o) * factor for v, o in zip(box, (left, top, left, top)))
    pen = ImageDraw.Draw(canvas)
    if shape.kind == "circle":
        pen.ellipse((local[0], local[1], local[2] - 1, local[3] - 1), fill=255)
    else:
        pen.polygon([(x - 0.5, y - 0.5) for x, y in _polygon(shape, local)], fill=255)  # type: ignore[arg-type]
    return np.asarray(canvas.reduce(factor), np.float32) / 255, left, top


def draw_scene(rng: np.random.Generator, scene: Scene) -> Image.Image:
    """The scene as an RGB picture of exactly scene.width x scene.height."""
    field = background(rng, scene.width, scene.height)
    grain = rng.uniform(1, 8) if rng.random() < 0.3 else 0.0
    for shape in scene.shapes:
        cover, left, top = mask_of(shape, scene.width, scene.height)
        bottom, right = min(top + cover.shape[0], scene.height), min(left + cover.shape[1], scene.width)
        cover = cover[: bottom - top, : right - left, None]
        ink: np.ndarray = np.array(paint(rng, shape.color), np.float32)
        if grain:
            ink = ink + noise(rng, right - left, bottom - top, grain)
        patch = field[top:bottom, left:right]
        field[top:bottom, left:right] = patch * (1 - cover) + ink * cover
    return Image.fromarray(np.clip(np.rint(field), 0, 255).astype(np.uint8))

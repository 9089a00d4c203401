"""Draws examples/: six pictures of known scenes and scenes.json with their true answers.

python -m tools.shapes.examples examples
"""
from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from .data import grid_of
from .draw import draw_scene
from .questions import grounded, listing
from .world import RELATIONS, SHAPES, Scene, make_scene, related

# name: (width, height, number of shapes, seed)
PICTURES = {
    "scene": (640, 480, 3, 9),
    "panorama": (960, 340, 5, 9),
    "portrait": (300, 720, 4, 9),
    "thumb": (128, 120, 2, 7),
    "photo": (1280, 960, 6, 7),
    "square": (448, 448, 1, 8),
}


def draw(name: str) -> tuple[Scene, object]:
    width, height, count, seed = PICTURES[name]
    rng = np.random.default_rng([40_000, seed])
    scene = make_scene(rng, width, height, count)
    return scene, draw_scene(rng, scene)


def questions(scene: Scene) -> list[dict[str, str]]:
    """One plainly worded question of each kind that the scene allows, with the true answer."""
    shapes = scene.ordered()
    first, last = shapes[0], shapes[-1]
    ask = [("caption", "Describe the image.", listing(shapes)), ("count", "How many shapes are there?", str(len(shapes)))]
    for kind in SHAPES[:2]:
        ask.append(("count_shape", f"How many {kind}s are there?", str(sum(s.kind == kind for s in shapes))))
    for shape in shapes:
        if sum(s.kind == shape.kind for s in shapes) == 1:
            ask.append(("color", f"What color is the {shape.kind}?", shape.color))
        ask.append(("size", f"What size is the {shape.name}?", shape.size))
        ask.append(("ground", f"Where is the {shape.name}?", grounded(shape)))
    ask.append(("exist", f"Is there a {first.name}?".replace(" a o", " an o"), "yes"))
    missing = next(k for k in ("green star", "blue square", "red circle") if all(s.name != k for s in shapes))
    ask.append(("exist", f"Is there a {missing}?", "no"))
    for relation in RELATIONS:
        side = f"{relation} of" if relation in ("left", "right") else relation
        ask.append(("relation", f"What is {side} the {last.name}?", listing(related(scene, last, relation))))
    return [{"kind": k, "question": q, "answer": a} for k, q, a in ask]


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools.shapes.examples", description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    facts = {}
    for name in PICTURES:
        scene, image = draw(name)
        image.save(args.folder / f"{name}.png", optimize=True)  # type: ignore[attr-defined]
        columns, rows = grid_of(scene.width, scene.height)
        facts[f"{name}.png"] = {
            "width": scene.width, "height": scene.height, "grid": [columns, rows],
            "tiles": columns * rows + (columns * rows > 1),
            "shapes": [{"shape": s.kind, "color": s.color, "size": s.size, "box": [round(v, 5) for v in s.box]} for s in scene.ordered()],
            "questions": questions(scene),
        }
    (args.folder / "scenes.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

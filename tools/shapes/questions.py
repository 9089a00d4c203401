"""Questions about a scene with the one right answer each, in several phrasings and as conversations."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .world import COLORS, RELATIONS, SHAPES, Scene, Shape, related

KINDS = ("caption", "count", "count_shape", "count_color", "color", "shape", "size", "exist", "relation", "ground")


@dataclass(frozen=True)
class Turn:
    """One question and its answer; `subject` is the shape a follow-up may call "it"."""

    kind: str
    question: str
    answer: str
    subject: Shape | None = None


CAPTION = (
    "Describe the image.", "Describe the image.", "Describe the picture.", "Describe this image.", "Describe this picture.",
    "What is in the image?", "What is in the picture?", "What is in this image?", "What is in this picture?",
    "What do you see?", "What can you see in the image?", "What does the image show?", "What shapes are in the image?",
    "Which shapes are there?", "List the shapes.", "Caption this image.", "Tell me what you see.", "What's in the picture?",
    "Describe the scene.", "What is this?", "What are the shapes?", "Give a caption.",
)
COUNT = (
    "How many shapes are there?", "How many shapes are in the image?", "How many shapes are in the picture?",
    "How many objects are there?", "How many objects are in the image?", "How many shapes do you see?", "How many shapes?",
    "Count the shapes.", "What is the number of shapes?", "How many things are there?", "Count the objects.",
    "How many shapes can you see?", "How many shapes are there in total?",
)
COUNT_OF = (
    "How many {x} are there?", "How many {x} are in the image?", "How many {x} are in the picture?", "How many {x}?",
    "How many {x} do you see?", "Count the {x}.", "What is the number of {x}?", "How many {x} can you see?",
)
COLOR = (
    "What {colour} is the {x}?", "What {colour} is the {x}?", "Which {colour} is the {x}?", "What is the {colour} of the {x}?",
    "Tell me the {colour} of the {x}.", "What {colour} does the {x} have?", "The {x} is what {colour}?",
)
SHAPE = (
    "What shape is the {x} one?", "What shape is the {x} object?", "What shape is the {x} thing?", "Which shape is {x}?",
    "What is {x}?", "What is the {x} shape?", "What is the {x} object?", "What shape is {x}?", "What is the shape of the {x} object?",
)
SIZE = (
    "What size is the {x}?", "How big is the {x}?", "Is the {x} small or large?", "Is the {x} large or small?",
    "What is the size of the {x}?", "How large is the {x}?", "Which size is the {x}?", "Is the {x} big or small?",
)
EXIST = (
    "Is there {a}?", "Is there {a}?", "Is there {a} in the image?", "Is there {a} in the picture?", "Can you see {a}?",
    "Do you see {a}?", "Does the image have {a}?", "Does the image show {a}?", "Does the picture contain {a}?",
)
RELATION = {
    "left": ("What is left of the {x}?", "What is to the left of the {x}?", "What is on the left of the {x}?", "Which shapes are left of the {x}?",
             "What shapes are to the left of the {x}?", "What can you see left of the {x}?", "What's left of the {x}?"),
    "right": ("What is right of the {x}?", "What is to the right of the {x}?", "What is on the right of the {x}?", "Which shapes are right of the {x}?",
              "What shapes are to the right of the {x}?", "What can you see right of the {x}?", "What's right of the {x}?"),
    "above": ("What is above the {x}?", "What is over the {x}?", "Which shapes are above the {x}?", "What shapes are above the {x}?",
              "What can you see above the {x}?", "What's above the {x}?"),
    "below": ("What is below the {x}?", "What is under the {x}?", "Which shapes are below the {x}?", "What shapes are below the {x}?",
              "What can you see below the {x}?", "What's below the {x}?"),
}
GROUND = (
    "Where is the {x}?", "Where is the {x}?", "Where is the {x} in the image?", "Find the {x}.", "Locate the {x}.", "Show me the {x}.",
    "Where can I find the {x}?", "Point to the {x}.", "Give the box of the {x}.", "Where do you see the {x}?",
    "Please provide the bounding box of the {x}.",
)


def listing(shapes: list[Shape]) -> str:
    """"a small red circle, a large blue star and a small black square"; "nothing" for none."""
    words = [s.phrase for s in shapes]
    if not words:
        return "nothing"
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def grounded(shape: Shape) -> str:
    x0, y0, x1, y1 = shape.box1000()
    return f"<ref>{shape.name}</ref><box>[[{x0}, {y0}, {x1}, {y1}]]</box>"


def article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _pick(rng: np.random.Generator, items):  # type: ignore[no-untyped-def]
    return items[int(rng.integers(len(items)))]


def _colour(rng: np.random.Generator) -> str:
    return "color" if rng.random() < 0.6 else "colour"


def _refer(rng: np.random.Generator, scene: Scene, shape: Shape, avoid: str = "") -> str:
    """An expression that fits this shape alone, without using the attribute asked for."""
    options = [] if avoid == "color" else [shape.name] * 3
    if avoid != "color" and avoid != "size" and rng.random() < 0.3:
        options.append(f"{shape.size} {shape.name}")
    if sum(s.kind == shape.kind for s in scene.shapes) == 1:
        options += [shape.kind] * 3
    if avoid != "color" and sum(s.color == shape.color for s in scene.shapes) == 1:
        options += [f"{shape.color} shape", f"{shape.color} one", f"{shape.color} object"][: 1 + int(rng.integers(3))]
    if avoid != "size" and sum(s.kind == shape.kind and s.size == shape.size for s in scene.shapes) == 1:
        options.append(f"{shape.size} {shape.kind}")
    return _pick(rng, options) if options else ""


def _absent(rng: np.random.Generator, scene: Scene) -> str:
    """The name of something that is not there: a pair, or a whole kind."""
    present = {s.name for s in scene.shapes}
    kinds = [k for k in SHAPES if all(s.kind != k for s in scene.shapes)]
    if kinds and rng.random() < 0.4:
        return str(_pick(rng, kinds))
    while True:
        near = _pick(rng, scene.shapes)
        color = near.color if rng.random() < 0.4 else _pick(rng, COLORS)
        kind = near.kind if rng.random() < 0.4 else _pick(rng, SHAPES)
        if f"{color} {kind}" not in present:
            return f"{color} {kind}"


def ask(rng: np.random.Generator, scene: Scene, kind: str, focus: Shape | None = None) -> Turn | None:
    """A question of the kind, or None where the scene allows none. `focus` makes it a follow-up about "it"."""
    shape = focus or _pick(rng, scene.shapes)
    it = focus is not None
    if kind == "caption":
        return Turn(kind, _pick(rng, CAPTION), listing(scene.ordered()), shape if len(scene.shapes) == 1 else None)
    if kind == "count":
        return Turn(kind, _pick(rng, COUNT), str(len(scene.shapes)))
    if kind == "count_shape":
        what = shape.kind if rng.random() < 0.75 else str(_pick(rng, SHAPES))
        return Turn(kind, _pick(rng, COUNT_OF).format(x=what + "s"), str(sum(s.kind == what for s in scene.shapes)))
    if kind == "count_color":
        what = shape.color if rng.random() < 0.75 else str(_pick(rng, COLORS))
        noun = "shapes" if rng.random() < 0.7 else "objects"
        return Turn(kind, _pick(rng, COUNT_OF).format(x=f"{what} {noun}"), str(sum(s.color == what for s in scene.shapes)))
    if kind == "shape":
        if sum(s.color == shape.color for s in scene.shapes) > 1:
            return None
        text = _pick(rng, ("What shape is it?", "Which shape is it?")) if it else _pick(rng, SHAPE).format(x=shape.color)
        return Turn(kind, text, shape.kind, shape)
    if kind == "exist":
        if rng.random() < 0.5:
            name, answer, subject = _absent(rng, scene), "no", None
        else:
            name = shape.name if rng.random() < 0.75 else shape.kind
            answer, subject = "yes", shape if sum(s.kind == shape.kind for s in scene.shapes) == 1 or " " in name else None
        return Turn(kind, _pick(rng, EXIST).format(a=article(name)), answer, subject)
    if kind in ("color", "size", "ground") and not it and rng.random() < 0.07:
        missing = _absent(rng, scene)
        forms = {"color": COLOR, "size": SIZE, "ground": GROUND}[kind]
        if kind == "color":
            kinds = [k for k in SHAPES if all(s.kind != k for s in scene.shapes)]
            if not kinds:
                return None
            missing = str(_pick(rng, kinds))
        return Turn(kind, _pick(rng, forms).format(x=missing, colour=_colour(rng)), f"there is no {missing}")
    if kind == "color":
        name = "it" if it else _refer(rng, scene, shape, "color")
        if not name:
            return None
        text = f"What {_colour(rng)} is it?" if it else _pick(rng, COLOR).format(x=name, colour=_colour(rng))
        return Turn(kind, text, shape.color, shape)
    if kind == "size":
        name = _refer(rng, scene, shape, "size")
        text = _pick(rng, ("What size is it?", "How big is it?", "Is it small or large?", "How large is it?")) if it else ""
        return Turn(kind, text or _pick(rng, SIZE).format(x=name), shape.size, shape) if name else None
    if kind == "relation":
        name = "it" if it else _refer(rng, scene, shape)
        relation = _pick(rng, RELATIONS)
        found = related(scene, shape, relation)
        if len(found) > 2 and rng.random() < 0.3:  # keep "nothing" and short answers frequent
            return None
        text = _pick(rng, RELATION[relation]).format(x=name).replace("the it", "it")
        return Turn(kind, text, listing(found), shape)
    if kind == "ground":
        name = "it" if it else _refer(rng, scene, shape)
        text = _pick(rng, GROUND).format(x=name).replace("the it", "it")
        return Turn(kind, text, grounded(shape), shape)
    raise ValueError(f"unknown question kind {kind!r}")


# The tokenizer is built from questions drawn with these weights: changing them changes the vocabulary.
WEIGHTS = {"caption": 0.19, "count": 0.07, "count_shape": 0.08, "count_color": 0.07, "color": 0.09, "shape": 0.06,
           "size": 0.07, "exist": 0.10, "relation": 0.14, "ground": 0.13}
# Where things are is the hardest to learn, so training asks it most.
TRAINING = {"caption": 0.17, "count": 0.05, "count_shape": 0.06, "count_color": 0.06, "color": 0.05, "shape": 0.03,
            "size": 0.04, "exist": 0.06, "relation": 0.20, "ground": 0.28}
_PROBS = np.array([WEIGHTS[k] for k in KINDS])


def favour(weights: dict[str, float]) -> None:
    """Draws the kinds of question with these weights from now on."""
    _PROBS[:] = np.array([weights[k] for k in KINDS]) / sum(weights[k] for k in KINDS)


def informal(rng: np.random.Generator, turn: Turn) -> Turn:
    """The question as people type it: lower case, no end mark, or all capitals now and then."""
    text, chance = turn.question, rng.random()
    if chance < 0.18:
        text = text[0].lower() + text[1:]
    elif chance < 0.24:
        text = text.upper()
    if rng.random() < 0.18:
        text = text.rstrip("?.")
    return Turn(turn.kind, text, turn.answer, turn.subject)


def random_turn(rng: np.random.Generator, scene: Scene, kind: str | None = None) -> Turn:
    while True:
        turn = ask(rng, scene, kind or KINDS[int(rng.choice(len(KINDS), p=_PROBS))])
        if turn is not None:
            return informal(rng, turn)
        if kind is not None and rng.random() < 0.05:
            return informal(rng, ask(rng, scene, "caption"))  # type: ignore[arg-type]


def conversation(rng: np.random.Generator, scene: Scene, turns: int) -> list[Turn]:
    """Several turns in a row; about half of the later ones ask on about the last subject as "it"."""
    talk: list[Turn] = []
    while len(talk) < turns:
        subject = talk[-1].subject if talk else None
        turn = None
        if subject is not None and rng.random() < 0.55:
            turn = ask(rng, scene, str(_pick(rng, ("color", "size", "shape", "relation", "ground"))), focus=subject)
            turn = informal(rng, turn) if turn else None
        talk.append(turn or random_turn(rng, scene))
    return talk

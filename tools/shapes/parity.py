"""Checks that the two programs and transformers' generate give the same greedy tokens:
python -m tools.shapes.parity models/shapes-internvl --prompts 200
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from .data import any_size
from .draw import draw_scene
from .evaluate import Seer
from .questions import random_turn
from .world import make_scene


def main() -> None:
    from transformers import InternVLForConditionalGeneration

    parser = argparse.ArgumentParser(prog="tools.shapes.parity", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=30_000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    seer = Seer(args.model)
    model = InternVLForConditionalGeneration.from_pretrained(args.model, dtype=torch.float32).eval()
    same, worst = 0, 0.0
    for index in range(args.prompts):
        rng = np.random.default_rng([args.seed, index])
        scene = make_scene(rng, *any_size(rng, 600))
        content = [{"type": "image"}, {"type": "text", "text": random_turn(rng, scene).question}]
        text = seer.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = seer.processor(images=[draw_scene(rng, scene)], text=text, return_tensors="pt")
        with torch.no_grad():
            out = model.generate(**inputs, max_new_tokens=100, do_sample=False, return_dict_in_generate=True, output_logits=True)
        ids = inputs["input_ids"][0].tolist()
        expected = out.sequences[0, len(ids):].tolist()
        chunk = (1024, 64, 32)[index % 3]
        got = seer.programs.generate(ids, inputs["pixel_values"].numpy(), seer.eos, 100, chunk, 384, pad=index % 2 == 0)
        same += got.tokens == expected
        worst = max(worst, *(float(np.abs(a - b[0].numpy()).max()) for a, b in zip(got.logits, out.logits)))
    print(f"same greedy tokens: {same} of {args.prompts}; largest difference of a logit: {worst:.2e}")
    raise SystemExit(0 if same == args.prompts and worst <= 1e-3 else 1)


if __name__ == "__main__":
    main()

"""Growing a model by layers that add nothing leaves its answers as they were."""
from __future__ import annotations

import unittest

import torch

from tools.shapes.folder import load_grown, new_model
from tools.shapes.tokenizer import build_tokenizer


class Growth(unittest.TestCase):
    def test_a_grown_model_answers_as_before_and_its_new_layers_learn(self) -> None:
        tokenizer = build_tokenizer()
        small = new_model(tokenizer, 1, layers=4).eval()
        for layers in (4, 5, 6, 8):
            grown = new_model(tokenizer, 2, layers=layers).eval()
            load_grown(grown, small.state_dict())
            ids = torch.tensor([[5, 17, 3, 88, 41]])
            with torch.no_grad():
                self.assertTrue(torch.equal(grown(input_ids=ids).logits, small(input_ids=ids).logits), layers)
            grown(input_ids=ids).logits.square().mean().backward()
            for layer in grown.model.language_model.layers:
                self.assertGreater(layer.mlp.down_proj.weight.grad.abs().max().item(), 0)


if __name__ == "__main__":
    unittest.main()

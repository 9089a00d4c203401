"""Whole answers of InternVL and Granite Vision against transformers' own `generate`: eight prompts and image shapes, 64 steps,
one and three at a time, prefill whole and in chunks, of the plain program and of the one for the processor. Llama 4's are in
test_llama4.py; test/ runs the same from pictures on."""
from __future__ import annotations

import math
import unittest
from typing import Any

import numpy as np
import torch

from tools.export.tests import test_export, test_llava_next
from tools.export.tests.test_llama4 import STEPS, Programs
from tools.export.vlm_export import internvl, llava_next
from tools.export.vlm_export.builder import building

Size = tuple[int, int]


def wandering(model: Any, image: int) -> Any:
    """Weights large enough that answers depend on every part and do not soon repeat, on numbers that f16 holds."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                value = 1 + 0.2 * noise
            elif "lambda_" in name:
                value = 0.5 + 0.1 * noise
            elif p.dim() < 2:
                value = 0.15 * noise
            elif "embed_tokens" in name:
                value = 0.5 * noise
            else:
                value = noise * (2.5 if "language" in name and ("q_proj" in name or "k_proj" in name) else 1.5) / math.sqrt(p[0].numel())
            if name.endswith("lm_head.weight"):
                # Never an answer: the program would put a vision row where the model puts the token's own embedding.
                value[image] = 0
            p.copy_(value.half().float())
    return model


class Answers:
    """What both families share; `rows` and `asked` are theirs."""

    image: int
    model: Any
    # Width and height of the images of each prompt, and the number of its words.
    prompts: list[tuple[list[Size], int]] = [([], 3), ([(28, 28)], 5), ([(56, 28), (20, 20)], 4), ([(90, 91)], 7), ([(1, 60), (60, 1)], 9), ([(161, 110)], 6),
                                             ([(7, 56)], 2), ([], 33)]

    def exported(self) -> dict[str, Any]:
        raise NotImplementedError

    def asked(self, sizes: list[Size]) -> tuple[list[int], dict[str, torch.Tensor], torch.Tensor | None]:
        """Image tokens of each picture, what `generate` gets of them, and tiles for the vision program."""
        raise NotImplementedError

    def rows(self, given: np.ndarray, sizes: list[Size]) -> np.ndarray:
        """What the vision program gives -> [1, rows, hidden]."""
        raise NotImplementedError

    def references(self) -> list[dict[str, Any]]:
        words, cases = np.random.default_rng(5), []
        for sizes, count in self.prompts:
            ids = words.integers(2, 40, count).tolist()
            tokens, inputs, pixels = self.asked(sizes)
            for n in tokens:
                ids += [41, *[self.image] * n, *words.integers(2, 40, 2).tolist()]
            with torch.no_grad():
                out = self.model.generate(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), **inputs, max_new_tokens=STEPS,
                                          do_sample=False, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
            cases.append({"ids": ids, "sizes": sizes, "pixels": pixels, "tokens": out.sequences[0, len(ids):].tolist(), "logits": torch.cat(out.logits).numpy()})
        return cases

    def test_tokens_and_logits_equal_those_of_generate(self: Any) -> None:
        torch.set_num_threads(1)
        cases = self.references()
        answers = [case["tokens"] for case in cases]
        self.assertEqual(len({tuple(a) for a in answers}), len(cases))
        self.assertTrue(all(len(set(a)) >= 8 for a in answers), [len(set(a)) for a in answers])
        self.assertFalse(any(self.image in a for a in answers))
        forms = [self.exported()]
        with building(None, card=False, wrote=lambda count: None):
            forms.append(self.exported())
        self.assertEqual([any(n.op_type == "GroupQueryAttention" for n in form["language"].graph.node) for form in forms], [False, True])
        for form in forms:
            programs = Programs(form)
            hidden = self.model.config.text_config.hidden_size
            rows = [np.zeros((1, 1, hidden), np.float32) if case["pixels"] is None else
                    self.rows(programs.vision.run(None, {"pixel_values": case["pixels"].numpy()})[0], case["sizes"]) for case in cases]
            for batch, chunk in ((1, 1 << 20), (3, 1 << 20), (3, 5)):
                for start in range(0, len(cases), batch):
                    part = cases[start : start + batch]
                    tokens, logits = programs.answer([(case["ids"], rows[start + n]) for n, case in enumerate(part)], chunk=chunk)
                    for n, case in enumerate(part):
                        self.assertEqual(tokens[n], case["tokens"], (start + n, batch, chunk))
                        np.testing.assert_allclose(logits[:, n], case["logits"], atol=1e-3, rtol=0, err_msg=f"{start + n}, {batch} at a time, chunks of {chunk}")


class InternVL(Answers, unittest.TestCase):
    image = test_export.IMAGE

    def setUp(self) -> None:
        self.model = wandering(test_export.tiny(tied=False, head_dim=16), self.image)

    def exported(self) -> dict[str, Any]:
        return internvl.export(self.model.config, self.model.state_dict())

    def asked(self, sizes: list[Size]) -> tuple[list[int], dict[str, torch.Tensor], torch.Tensor | None]:
        # One tile for each 28 px of the longer side: how pictures become tiles is the processor's, and no part of the model.
        tiles = [1 + max(size) // 28 for size in sizes]
        if not sizes:
            return [], {}, None
        pixels = torch.randn(sum(tiles), 3, 28, 28, generator=torch.Generator().manual_seed(sum(tiles)))
        return [4 * n for n in tiles], {"pixel_values": pixels}, pixels

    def rows(self, given: np.ndarray, sizes: list[Size]) -> np.ndarray:
        return given.reshape(1, -1, given.shape[-1])


class Granite(Answers, unittest.TestCase):
    image = 49

    def setUp(self) -> None:
        text = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": None}
        self.config = test_llava_next.config(text=text, tie_word_embeddings=False)
        self.model = wandering(test_llava_next.tiny(self.config), self.image)

    def exported(self) -> dict[str, Any]:
        return llava_next.export(self.config, self.model.state_dict())

    def asked(self, sizes: list[Size]) -> tuple[list[int], dict[str, torch.Tensor], torch.Tensor | None]:
        if not sizes:
            return [], {}, None
        packed = [llava_next.packed_rows(self.config, size) for size in sizes]
        parts = [torch.randn(tiles, 3, 28, 28, generator=torch.Generator().manual_seed(tiles)) for tiles, _ in packed]
        inputs = {"pixel_values": torch.nn.utils.rnn.pad_sequence(parts, batch_first=True), "image_sizes": torch.tensor([[height, width] for width, height in sizes])}
        return [len(order) for _, order in packed], inputs, torch.cat(parts)

    def rows(self, given: np.ndarray, sizes: list[Size]) -> np.ndarray:
        hidden, start, out = given.shape[-1], 0, []
        for size in sizes:
            tiles, order = llava_next.packed_rows(self.config, size)
            part = given[start : start + tiles]
            out.append(np.concatenate([part[:, :-1].reshape(-1, hidden), part[0, -1:]])[order])
            start += tiles
        return np.concatenate(out)[None]


if __name__ == "__main__":
    unittest.main()

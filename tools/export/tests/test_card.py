"""Programs for the card's compiler, run as a card runs them: its operators are written here in Python, padded chunks and all.

A write to an index out of range is dropped and a read there gives NaN, so anything that lets one through shows. What they
must equal is the program for the processor, and transformers' own `generate` behind that (tests of each family).
"""
from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from tools.export.tests import test_export, test_llama4, test_llava_next
from tools.export.vlm_export.builder import building
from tools.export.vlm_export.cache import DOMAIN, INT32_MAX
from tools.export.vlm_export.registry import EXPORTERS


class CtxScatter(OpRun):
    op_domain = DOMAIN

    def _run(self, data: np.ndarray, positions: np.ndarray, updates: np.ndarray) -> tuple[np.ndarray]:
        out = data.copy()
        for row, column in np.argwhere(positions != INT32_MAX):
            slot = positions[row, column]
            assert 0 <= slot < data.shape[2], f"slot {slot} is neither in the cache nor the index out of range"
            out[row, :, slot] = updates[row, :, column]
        return (out,)


class CtxGather(OpRun):
    op_domain = DOMAIN

    def _run(self, data: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray]:
        out = np.full((*data.shape[:2], indices.shape[2], data.shape[3]), np.nan, np.float32)
        for row in range(len(data)):
            used = np.nonzero(indices[row, 0] != INT32_MAX)[0]
            out[row][:, used] = data[row][:, indices[row, 0, used]]
        return (out,)


class CustomRMSNorm(OpRun):
    op_domain = "com.qti.aisw.onnx"

    def _run(self, x: np.ndarray, weight: np.ndarray, epsilon: float) -> tuple[np.ndarray]:
        return ((x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + epsilon) * weight).astype(np.float32),)


class Language:
    """Either form behind one call; caches start as NaN, which nothing may read."""

    def __init__(self, model: onnx.ModelProto, card: bool) -> None:
        self.past = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input if i.name.startswith("past_")}
        self.rank = next(len(i.type.tensor_type.shape.dim) for i in model.graph.input if i.name == "vision_embeds")
        self.names = ["logits", "image_idx_output", *[f"{n}_RetainedState" for n in self.past]]
        if card:
            self.session: Any = ReferenceEvaluator(model, new_ops=[CtxScatter, CtxGather, CustomRMSNorm])
        else:
            self.session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        self.fill = np.nan if card else 0.0

    def state(self, batch: int, ctx_len: int) -> dict[str, np.ndarray]:
        return {n: np.full((batch, s[1], ctx_len, s[3]), self.fill, np.float32) for n, s in self.past.items()}

    def step(self, state: dict[str, np.ndarray], ids: Any, positions: Any, rows: np.ndarray, index: int) -> tuple[np.ndarray, int]:
        logits, used, *kept = self.session.run(self.names, {
            "input_ids": np.array(ids, np.int64), "position_ids": np.array(positions, np.int64), "vision_embeds": rows,
            "image_idx": np.array([[index]], np.int64), **state})
        state.update(zip(self.past, kept))
        return logits[:, 0], int(used[0, 0])


def families() -> dict[str, tuple[Any, Any, int, int]]:
    """Configuration, model, image token and hidden size of a tiny model of each."""
    internvl, granite, scout = test_export.tiny(), test_llava_next.config(), test_llama4.config()
    return {"internvl": (internvl.config, internvl, test_export.IMAGE, 24), "llava_next": (granite, test_llava_next.tiny(granite), 49, 24),
            "llama4": (scout, test_llama4.tiny(scout), test_llama4.PATCH, 32)}


class Card(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        torch.set_num_threads(1)
        cls.made = {}
        for kind, (config, model, token, hidden) in families().items():
            programs = []
            for card in (False, True):
                with building(None, card=card, wrote=lambda count: None):
                    programs.append(EXPORTERS[kind].export(config, model.state_dict(), card))
            cls.made[kind] = (*programs, token, hidden)

    def test_padded_chunks_and_uneven_batches_give_the_logits_of_exact_calls(self) -> None:
        for kind, (cpu, card, token, hidden) in self.made.items():
            with self.subTest(kind):
                rng = np.random.default_rng(1)
                plain, compiled = Language(cpu["language"], False), Language(card["language"], True)
                rows = rng.standard_normal((1, 9, hidden)).astype(np.float32)
                rows = rows[0] if plain.rank == 2 else rows
                prompts = [[3, 4, *[token] * 9, 5, 6, 7, 8, 9, 10], [11, 12, 13]]
                expected, states = [], []
                for ids in prompts:
                    states.append(plain.state(1, 40))
                    expected.append(plain.step(states[-1], [ids], [range(len(ids))], rows, 0)[0])
                batch, chunk, index = compiled.state(2, 40), 7, 0
                got: list[Any] = [None, None]
                for start in range(0, len(prompts[0]), chunk):
                    parts = [ids[start : start + chunk] for ids in prompts]
                    # The shorter row is padding throughout in all but the first chunk; padding looks like an image token.
                    logits, index = compiled.step(batch, [p + [token] * (chunk - len(p)) for p in parts],
                                                  [[*range(start, start + len(p)), *[-1] * (chunk - len(p))] for p in parts], rows, index)
                    got = [logits[n] if p else got[n] for n, p in enumerate(parts)]
                self.assertEqual(index, 9)
                for n in range(2):
                    np.testing.assert_allclose(got[n], expected[n][0], atol=1e-3, rtol=0)
                for name, kept in batch.items():
                    self.assertTrue(np.isfinite(kept[1, :, :3]).all() and np.isnan(kept[1, :, 3:]).all(), name)
                for step in range(12):
                    tokens = [int(e[0].argmax()) for e in expected]
                    self.assertEqual([int(g.argmax()) for g in got], tokens)
                    at = [len(ids) + step for ids in prompts]
                    expected = [plain.step(states[n], [[tokens[n]]], [[at[n]]], rows, 0)[0] for n in range(2)]
                    logits, _ = compiled.step(batch, [[t] for t in tokens], [[a] for a in at], rows, 0)
                    got = list(logits)
                    for n in range(2):
                        np.testing.assert_allclose(got[n], expected[n][0], atol=1e-3, rtol=0)

    def test_vision_programs_are_the_same_within_f32(self) -> None:
        for kind, (cpu, card, *_) in self.made.items():
            dims = [d.dim_value for d in cpu["vision"].graph.input[0].type.tensor_type.shape.dim]
            pixels = np.random.default_rng(2).standard_normal((3, *dims[1:])).astype(np.float32)
            a, b = (ort.InferenceSession(p["vision"].SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"pixel_values": pixels})[0] for p in (cpu, card))
            np.testing.assert_allclose(a, b, atol=1e-4, err_msg=kind)

    def test_names_ranges_and_operators_are_the_compiler_s(self) -> None:
        for kind, (_, card, *_) in self.made.items():
            graph = card["language"].graph
            own = {(n.domain, n.op_type) for n in graph.node if n.domain}
            self.assertEqual(own, {(DOMAIN, "CtxScatter"), (DOMAIN, "CtxGather"), ("com.qti.aisw.onnx", "CustomRMSNorm")}, kind)
            readers = {n.op_type for n in graph.node for i in n.input if i.startswith("past_") and not i.endswith("_RetainedState")}
            self.assertEqual(readers, {"CtxScatter"})
            self.assertFalse({n.op_type for p in card.values() for n in p.graph.node} & {"NonZero", "Loop", "If", "Scan", "Cos", "Sin"}, kind)
            for program in card.values():
                for tensor in program.graph.initializer:
                    values = onnx.numpy_helper.to_array(tensor)
                    if values.dtype == np.float32 and values.size:
                        self.assertTrue((np.abs(values) < 65504).all(), (kind, tensor.name))

    def test_onnx_runtime_runs_them_where_the_index_is_in_range(self) -> None:
        for kind, (cpu, card, _, hidden) in self.made.items():
            mended = onnx.ModelProto()
            mended.CopyFrom(card["language"])
            for tensor in mended.graph.initializer:
                if tensor.data_type == onnx.TensorProto.INT64 and (values := onnx.numpy_helper.to_array(tensor)).size == 1 and values == INT32_MAX:
                    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros_like(values), tensor.name))
            with tempfile.TemporaryDirectory() as folder:
                onnx.save(mended, Path(folder) / "language.onnx")
                onnx.checker.check_model(str(Path(folder) / "language.onnx"))
            both = [Language(m, False) for m in (cpu["language"], mended)]
            rows = np.zeros((1, 1, hidden), np.float32)[0 if both[0].rank == 2 else slice(None)]
            a, b = (p.step(p.state(1, 24), [[3, 4, 5, 6]], [[0, 1, 2, 3]], rows, 0)[0] for p in both)
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=0, err_msg=kind)


if __name__ == "__main__":
    unittest.main()

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import onnxruntime as ort
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration

from tools.export.vlm_export import internvl
from tools.export.vlm_export.builder import WeightFile, for_cpu
from tools.export.vlm_export.runtime import DualProgram

IMAGE, EOS, VOCAB = 90, 1, 96


def tiny(norm: str = "layer_norm", qk_norm: bool = False, tied: bool = True, head_dim: int = 6) -> InternVLForConditionalGeneration:
    torch.manual_seed(3)
    config = InternVLConfig(
        vision_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": [28, 28],
                       "patch_size": [7, 7], "attention_bias": not qk_norm, "use_qk_norm": qk_norm, "norm_type": norm},
        text_config={"model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": head_dim, "tie_word_embeddings": tied,
                     "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}},
        image_token_id=IMAGE, image_seq_length=4, tie_word_embeddings=tied)
    model = InternVLForConditionalGeneration(config).float().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((torch.randn_like(p) * 0.3).half().float())
    return model


class Contract(unittest.TestCase):
    def programs(self, model: InternVLForConditionalGeneration) -> DualProgram:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        state = {k: v for k, v in model.state_dict().items()}
        for name, program in internvl.export(model.config, state).items():
            onnx.save(program, Path(folder.name) / f"{name}.onnx")
        return DualProgram(Path(folder.name))

    def prompt(self, tiles: int) -> tuple[list[int], np.ndarray]:
        rng = np.random.default_rng(0)
        ids = [5, 6, *[IMAGE] * (4 * tiles), *rng.integers(2, 80, 9).tolist()]
        return ids, rng.standard_normal((tiles, 3, 28, 28)).astype(np.float32)

    def reference(self, model: InternVLForConditionalGeneration, ids: list[int], pixels: np.ndarray, steps: int) -> tuple[list[int], np.ndarray]:
        with torch.no_grad():
            out = model.generate(input_ids=torch.tensor([ids]), pixel_values=torch.from_numpy(pixels), max_new_tokens=steps, do_sample=False,
                                 eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
        return out.sequences[0, len(ids):].tolist(), torch.stack(out.logits)[:, 0].numpy()

    def test_tokens_and_logits_equal_the_reference_for_any_chunking(self) -> None:
        for options in ({}, {"norm": "rms_norm", "qk_norm": True}, {"tied": False}):
            model = tiny(**options)  # type: ignore[arg-type]
            programs = self.programs(model)
            ids, pixels = self.prompt(tiles=3)
            tokens, logits = self.reference(model, ids, pixels, 20)
            for chunk, pad in ((999, False), (5, False), (5, True), (8, True), (1, False)):
                got = programs.generate(ids, pixels, -1, 20, chunk, 64, pad)
                self.assertEqual(got.tokens, tokens, (options, chunk, pad))
                self.assertLess(np.abs(np.stack(got.logits) - logits).max(), 1e-3)

    def test_padding_leaves_the_cache_untouched(self) -> None:
        programs = self.programs(tiny())
        ids, vision = np.array([[3, 4, 5]], np.int64), np.zeros((1, 1, 24), np.float32)
        zero = np.zeros((1, 1), np.int64)
        plain, padded = programs.state(1, 16), programs.state(1, 16)
        a, _ = programs.step(plain, ids, np.array([[0, 1, 2]], np.int64), vision, zero)
        # Padding that looks like an image token must not use up a vision row.
        b, used = programs.step(padded, np.pad(ids, ((0, 0), (0, 2)), constant_values=IMAGE), np.array([[0, 1, 2, -1, -1]], np.int64), vision, zero)
        self.assertEqual(int(used[0, 0]), 0)
        np.testing.assert_allclose(a, b, atol=1e-5)
        for name in plain:
            np.testing.assert_allclose(plain[name], padded[name], atol=1e-5)
            self.assertFalse(padded[name][:, :, 3:].any())

    def test_image_rows_go_on_over_chunks(self) -> None:
        programs = self.programs(tiny())
        _, used = programs.step(programs.state(1, 16), np.array([[2, IMAGE, IMAGE, IMAGE]], np.int64), np.array([[0, 1, 2, 3]], np.int64),
                                np.zeros((1, 8, 24), np.float32), np.array([[2]], np.int64))
        self.assertEqual(used.tolist(), [[5]])

    def test_a_batch_decodes_as_its_rows_do(self) -> None:
        programs = self.programs(tiny())
        vision, zero = np.zeros((1, 1, 24), np.float32), np.zeros((1, 1), np.int64)
        rows = []
        for row in range(2):
            state = programs.state(1, 16)
            length = 3 + row
            programs.step(state, np.arange(2, 2 + length, dtype=np.int64)[None], np.arange(length, dtype=np.int64)[None], vision, zero)
            rows.append((state, length))
        both = {n: np.concatenate([rows[0][0][n], rows[1][0][n]]) for n in rows[0][0]}
        logits, _ = programs.step(both, np.array([[7], [8]], np.int64), np.array([[3], [4]], np.int64), vision, zero)
        for row, (state, length) in enumerate(rows):
            alone, _ = programs.step(state, np.array([[7 + row]], np.int64), np.array([[length]], np.int64), vision, zero)
            np.testing.assert_allclose(logits[row], alone[0], atol=1e-5)

    def test_only_the_scatter_reads_the_cache(self) -> None:
        model = tiny()
        language = internvl.export(model.config, model.state_dict())["language"]
        readers = {n.op_type for n in language.graph.node for i in n.input if i.startswith("past_") and not i.endswith("_RetainedState")}
        self.assertEqual(readers, {"CtxScatter"})
        body = language.functions[0]
        self.assertEqual([n.op_type for n in body.node if "data" in n.input], ["ScatterND"])
        self.assertEqual({i.version for i in language.opset_import if i.domain == ""}, {17})


class ForCpu(unittest.TestCase):
    """Fused attention and f32 weights beside the graph."""

    def programs(self, model: InternVLForConditionalGeneration) -> tuple[DualProgram, Path]:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "out"
        with mock.patch.object(WeightFile, "INLINE_BYTES", 256), for_cpu(path):
            for name, program in internvl.export(model.config, model.state_dict()).items():
                onnx.save(program, path / f"{name}.onnx")
        return DualProgram(path), path

    def test_tokens_and_logits_equal_the_reference_for_any_chunking(self) -> None:
        for tied, head_dim in ((True, 16), (False, 16), (True, 6)):
            model = tiny(tied=tied, head_dim=head_dim)
            programs, path = self.programs(model)
            fused = any(n.op_type == "GroupQueryAttention" for n in onnx.load(path / "language.onnx").graph.node)
            self.assertEqual(fused, head_dim == 16)
            ids, pixels = Contract.prompt(self, tiles=3)  # type: ignore[arg-type]
            tokens, logits = Contract.reference(self, model, ids, pixels, 20)  # type: ignore[arg-type]
            for chunk in (999, 5, 8, 1):
                got = programs.generate(ids, pixels, -1, 20, chunk, 64)
                self.assertEqual(got.tokens, tokens, (tied, head_dim, chunk))
                self.assertLess(np.abs(np.stack(got.logits) - logits).max(), 1e-3)

    def test_rows_of_different_lengths_decode_as_they_do_alone(self) -> None:
        programs, _ = self.programs(tiny(head_dim=16))
        vision, zero = np.zeros((1, 1, 24), np.float32), np.zeros((1, 1), np.int64)
        rows = []
        for length in (3, 9, 5):
            state = programs.state(1, 16)
            programs.step(state, np.arange(2, 2 + length, dtype=np.int64)[None], np.arange(length, dtype=np.int64)[None], vision, zero)
            rows.append((state, length))
        both = {n: np.concatenate([state[n] for state, _ in rows]) for n in rows[0][0]}
        logits, _ = programs.step(both, np.array([[7], [8], [9]], np.int64), np.array([[n] for _, n in rows], np.int64), vision, zero)
        for row, (state, length) in enumerate(rows):
            alone, _ = programs.step(state, np.array([[7 + row]], np.int64), np.array([[length]], np.int64), vision, zero)
            np.testing.assert_allclose(logits[row], alone[0], atol=1e-5)
            for name in state:
                np.testing.assert_allclose(both[name][row], state[name][0], atol=1e-6)

    def test_one_buffer_may_be_a_cache_before_and_after_a_call(self) -> None:
        programs, _ = self.programs(tiny(head_dim=16))
        vision, zero = np.zeros((1, 1, 24), np.float32), np.zeros((1, 1), np.int64)
        plain, shared = programs.state(1, 16), {n: ort.OrtValue.ortvalue_from_numpy(v) for n, v in programs.state(1, 16).items()}
        for at, count in ((0, 4), (4, 3), (7, 1), (8, 1)):
            ids, positions = np.arange(at, at + count, dtype=np.int64)[None] + 2, np.arange(at, at + count, dtype=np.int64)[None]
            expected, _ = programs.step(plain, ids, positions, vision, zero)
            binding = programs.language.io_binding()
            for name, value in (("input_ids", ids), ("position_ids", positions), ("vision_embeds", vision), ("image_idx", zero)):
                binding.bind_cpu_input(name, value)
            for name, value in shared.items():
                binding.bind_ortvalue_input(name, value)
                binding.bind_ortvalue_output(f"{name}_RetainedState", value)
            binding.bind_output("logits")
            programs.language.run_with_iobinding(binding)
            np.testing.assert_array_equal(binding.get_outputs()[-1].numpy(), expected)
            for name, value in shared.items():
                np.testing.assert_array_equal(value.numpy(), plain[name])

    def test_weights_lie_page_aligned_beside_the_graph_in_f32(self) -> None:
        _, path = self.programs(tiny(head_dim=16))
        graph = onnx.load(path / "language.onnx", load_external_data=False).graph
        external = [{e.key: e.value for e in t.external_data} for t in graph.initializer if t.external_data]
        self.assertGreater(len(external), 20)
        self.assertEqual({e["location"] for e in external}, {"language.onnx.data"})
        self.assertTrue(all(int(e["offset"]) % WeightFile.ALIGN == 0 for e in external))
        self.assertEqual({n.op_type for n in graph.node for i in n.input if i.startswith("past_")}, {"GroupQueryAttention"})
        onnx.checker.check_model(str(path / "vision.onnx"))


if __name__ == "__main__":
    unittest.main()

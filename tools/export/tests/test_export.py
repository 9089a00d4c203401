import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration

from tools.export.vlm_export import internvl
from tools.export.vlm_export.runtime import DualProgram

IMAGE, EOS, VOCAB = 90, 1, 96


def tiny(norm: str = "layer_norm", qk_norm: bool = False, tied: bool = True) -> InternVLForConditionalGeneration:
    torch.manual_seed(3)
    config = InternVLConfig(
        vision_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": [28, 28],
                       "patch_size": [7, 7], "attention_bias": not qk_norm, "use_qk_norm": qk_norm, "norm_type": norm},
        text_config={"model_type": "qwen2", "vocab_size": VOCAB, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3,
                     "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "head_dim": 6, "tie_word_embeddings": tied,
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


if __name__ == "__main__":
    unittest.main()

"""Export of Llama 4: what is refused, and answers of the whole model over prompts, pictures, batches and chunks."""
from __future__ import annotations

import json
import math
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from PIL import Image, ImageOps
from transformers import AutoProcessor, Llama4Config, Llama4ForConditionalGeneration

from tools.export.vlm_export import llama4
from tools.export.vlm_export.builder import Builder
from tools.export.vlm_export.llama4_text import inverse_frequencies, rope_of

PATCH, VOCABULARY, CHUNK, STEPS = 79, 80, 24, 64
TOKENS = 4  # of a tile: 4 x 4 patches, shuffled by 0.5
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0, "original_max_position_embeddings": 64}


def config(**changes: Any) -> Llama4Config:
    vision = {"hidden_size": 16, "intermediate_size": 64, "image_size": 56, "patch_size": 14, "num_attention_heads": 2, "num_hidden_layers": 2,
              "pixel_shuffle_ratio": 0.5, "projector_input_dim": 20, "projector_output_dim": 20, "vision_output_dim": 20,
              "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, **changes.pop("vision", {})}
    text = {"hidden_size": 32, "intermediate_size": 24, "intermediate_size_mlp": 40, "num_hidden_layers": 4, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCABULARY, "max_position_embeddings": 4096, "num_experts_per_tok": 2,
            "num_local_experts": 4, "interleave_moe_layer_step": 2, "attention_chunk_size": CHUNK, "floor_scale": 16, "attn_scale": 0.3,
            "rope_parameters": LLAMA3, **changes.pop("text", {})}
    return Llama4Config(vision_config=vision, text_config=text, image_token_index=PATCH, **changes)


def tiny(settings: Llama4Config) -> Llama4ForConditionalGeneration:
    torch.manual_seed(3)
    model = Llama4ForConditionalGeneration(settings).eval()
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            # Experts are kept [expert, in, out], everything else [out, in].
            width = p.shape[-2] if "experts." in name and p.dim() == 3 else p[0].numel() if p.dim() > 1 else 9
            noise = torch.randn_like(p) * (2.5 if "q_proj" in name or "router" in name else 1.0) / math.sqrt(width)
            if "lm_head" in name or "embed_tokens" in name:
                # Never an answer: the program would put a vision row where the model puts the token's own embedding.
                noise[PATCH] = 0
            p.copy_(((1 + 0.3 * noise) if "norm" in name and name.endswith("weight") else noise).half().float())
    return model


def session(model: Any) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def prompts() -> list[tuple[list[int], int]]:
    """Eight prompts: token ids and the number of tiles; two images are two runs of patch tokens."""
    rng = np.random.default_rng(5)
    def words(count: int) -> list[int]:
        return rng.integers(0, PATCH - 1, count).tolist()
    shapes = [([], 3), ([1], 5), ([2, 1], 4), ([3], 7), ([1, 1], 9), ([5, 6], 6), ([12], 2), ([], CHUNK + 9)]
    out = []
    for tiles, count in shapes:
        ids = words(count)
        for n in tiles:
            ids += words(1) + [PATCH] * (n * TOKENS) + words(2)
        out.append((ids, sum(tiles)))
    return out


class Programs:
    def __init__(self, programs: dict[str, Any]) -> None:
        self.vision, self.language = session(programs["vision"]), session(programs["language"])
        self.past = {i.name: i.shape for i in self.language.get_inputs() if i.name.startswith("past_")}
        self.names = ["logits", "image_idx_output", *[f"{n}_RetainedState" for n in self.past]]

    def state(self, batch: int, ctx_len: int) -> dict[str, np.ndarray]:
        # Not zeros: nothing may be read that was not written.
        return {n: np.full((batch, s[1], ctx_len, s[3]), 7.0, np.float32) for n, s in self.past.items()}

    def step(self, state: dict[str, np.ndarray], ids: Any, positions: Any, rows: np.ndarray, index: int) -> tuple[np.ndarray, int]:
        feeds = {"input_ids": np.array(ids, np.int64), "position_ids": np.array(positions, np.int64), "vision_embeds": rows,
                 "image_idx": np.array([[index]], np.int64), **state}
        logits, image_idx, *kept = self.language.run(self.names, feeds)
        state.update(zip(self.past, kept))
        return logits[:, 0], int(image_idx[0, 0])

    def prefill(self, state: dict[str, np.ndarray], ids: list[int], rows: np.ndarray, chunk: int, pad: bool) -> np.ndarray:
        index, logits = 0, np.zeros(0)
        for start in range(0, len(ids), chunk):
            part = ids[start : start + chunk]
            gap = chunk - len(part) if pad else 0
            positions = [*range(start, start + len(part)), *[-1] * gap]
            logits, index = self.step(state, [part + [0] * gap], [positions], rows, index)
        return logits

    def answer(self, cases: list[tuple[list[int], np.ndarray]], chunk: int = 1 << 20, pad: bool = False, ctx_len: int = 192) -> tuple[list[list[int]], np.ndarray]:
        """Greedy tokens [cases][steps] and logits [steps, cases, V]: prefilled one by one, decoded together, as the runner does."""
        states, first = [], []
        for ids, rows in cases:
            states.append(self.state(1, ctx_len))
            first.append(self.prefill(states[-1], ids, rows, min(chunk, len(ids)) if not pad else chunk, pad))
        state = {n: np.concatenate([s[n] for s in states]) for n in self.past}
        logits = [np.concatenate(first)]
        tokens = [logits[0].argmax(1)]
        while len(tokens) < STEPS:
            positions = [[len(ids) + len(tokens) - 1] for ids, _ in cases]
            logits.append(self.step(state, tokens[-1][:, None], positions, cases[0][1], 0)[0])
            tokens.append(logits[-1].argmax(1))
        return np.stack(tokens, 1).tolist(), np.stack(logits)


class Refused(unittest.TestCase):
    def test_each_unknown_part_has_its_reason(self) -> None:
        self.assertIsNone(llama4.unsupported(config()))
        cases = [({"vision": {"pixel_shuffle_ratio": 0.4}}, "whole number"), ({"vision": {"image_size": 60}}, "whole number of patches"),
                 ({"vision": {"image_size": 42}}, "shuffled"), ({"vision": {"intermediate_size": 60}}, "intermediate_size"),
                 ({"vision": {"num_attention_heads": 8}}, "multiple of 4"), ({"text": {"hidden_act": "gelu"}}, "gelu"), ({"quantization_config": {"quant_method": "compressed-tensors"}}, "quantized"),
                 ({"text": {"attention_chunk_size": None}}, "attention_chunk_size"),
                 ({"text": {"attention_chunk_size": 0}}, "attention_chunk_size"), ({"text": {"floor_scale": 0}}, "floor_scale"),
                 ({"text": {"num_experts_per_tok": 5}}, "num_experts_per_tok is 5 of 4"), ({"text": {"layer_types": ["sliding_attention"] * 4}}, "layer_types"),
                 ({"text": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}}, "linear")]
        for changes, reason in cases:
            with self.subTest(changes):
                self.assertIn(reason, llama4.unsupported(config(**changes)) or "")
        with self.assertRaisesRegex(ValueError, "shuffled"):
            llama4.export(config(vision={"image_size": 42}), {})


    def test_the_published_configurations_are_supported(self) -> None:
        vision = {"hidden_size": 1408, "intermediate_size": 5632, "image_size": 336, "patch_size": 14, "num_attention_heads": 16, "num_hidden_layers": 34,
                  "projector_input_dim": 4096, "projector_output_dim": 4096, "vision_output_dim": 4096, "rope_theta": 10000}
        scout = {"num_local_experts": 16, "rope_theta": 500000.0, "max_position_embeddings": 10485760, "rope_scaling": {
            "rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 1.0, "original_max_position_embeddings": 8192}}
        maverick = {"num_local_experts": 128, "rope_theta": 500000.0, "interleave_moe_layer_step": 2, "use_qk_norm": False, "rope_scaling": None,
                    "attn_temperature_tuning": True, "max_position_embeddings": 1048576}
        for text in (scout, maverick):
            self.assertIsNone(llama4.unsupported(Llama4Config(vision_config=vision, text_config=text)))


class Exported(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        torch.set_num_threads(1)
        cls.config = config()
        cls.model = tiny(cls.config)
        generator = torch.Generator().manual_seed(4)
        cls.cases = [(ids, torch.randn(tiles, 3, 56, 56, generator=generator) if tiles else None) for ids, tiles in prompts()]
        cls.expected = [cls.reference(cls.model, *case) for case in cls.cases]
        programs = llama4.export(cls.config, cls.model.state_dict())
        cls.programs = Programs(programs)
        cls.rows = [cls.encoded(pixels) for _, pixels in cls.cases]

    @staticmethod
    def reference(model: Any, ids: list[int], pixels: torch.Tensor | None, steps: int = STEPS) -> tuple[list[int], np.ndarray]:
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.no_grad():
            out = model.generate(**inputs, **({} if pixels is None else {"pixel_values": pixels}), max_new_tokens=steps, do_sample=False,
                                 eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True)
        return out.sequences[0, len(ids):].tolist(), torch.cat(out.logits).numpy()

    @classmethod
    def encoded(cls, pixels: torch.Tensor | None) -> np.ndarray:
        if pixels is None:
            return np.zeros((1, 32), np.float32)
        return cls.programs.vision.run(None, {"pixel_values": pixels.numpy()})[0]

    def same(self, programs: Programs, batch: int = 1, **how: Any) -> None:
        for start in range(0, len(self.cases), batch):
            part = range(start, min(start + batch, len(self.cases)))
            tokens, logits = programs.answer([(self.cases[n][0], self.rows[n]) for n in part], **how)
            for row, n in enumerate(part):
                self.assertEqual(tokens[row], self.expected[n][0], (n, how))
                np.testing.assert_allclose(logits[:, row], self.expected[n][1], atol=1e-3, rtol=0, err_msg=f"{n} {how}")

    def test_the_cases_say_something(self) -> None:
        answers = [tokens for tokens, _ in self.expected]
        self.assertEqual(len({tuple(a) for a in answers}), len(answers))
        self.assertTrue(all(len(set(a)) >= 8 for a in answers), [len(set(a)) for a in answers])
        self.assertTrue(any(len(ids) < CHUNK < len(ids) + STEPS for ids, _ in self.cases), "no answer crosses into a new chunk")
        self.assertTrue(any(len(ids) > 2 * CHUNK for ids, _ in self.cases), "no prompt crosses chunks")
        self.assertEqual((self.config.text_config.no_rope_layers, self.config.text_config.moe_layers), ([1, 1, 1, 0], [1, 3]))

    def test_rows_of_the_tiles_equal_the_model(self) -> None:
        for (_, pixels), rows in zip(self.cases, self.rows):
            if pixels is None:
                continue
            with torch.no_grad():
                features = self.model.vision_model(pixels).last_hidden_state
                expected = self.model.multi_modal_projector(features.view(-1, features.size(-1))).numpy()
            self.assertEqual(rows.shape, (len(pixels) * TOKENS, 32))
            np.testing.assert_allclose(rows, expected, atol=1e-4)

    def test_greedy_tokens_and_logits_one_at_a_time(self) -> None:
        self.same(self.programs)

    def test_batch_of_three(self) -> None:
        self.same(self.programs, batch=3)

    def test_chunked_prefill_whole_and_padded(self) -> None:
        for chunk in (5, 16):
            self.same(self.programs, batch=3, chunk=chunk)
        self.same(self.programs, chunk=7, pad=True)

    def test_static_program_gives_the_same(self) -> None:
        programs = llama4.export(self.config, self.model.state_dict(), static=True)["language"]
        kinds = {node.op_type for node in programs.graph.node}
        self.assertFalse(kinds & {"NonZero", "Cos", "Sin", "Loop", "If"})
        self.same(Programs({"vision": llama4.export(self.config, self.model.state_dict())["vision"], "language": programs}), batch=3, chunk=16)

    def test_a_padded_position_leaves_the_cache_untouched(self) -> None:
        state = self.programs.state(1, 32)
        self.programs.step(state, [[3, 4, 9, 9]], [[0, 1, -1, -1]], self.rows[0], 0)
        for name, kept in state.items():
            self.assertTrue((kept[:, :, 2:] == 7.0).all(), name)
            self.assertTrue((kept[:, :, :2] != 7.0).all(), name)


class Variants(unittest.TestCase):
    """Other configurations that checkpoints of the family have, each over a prompt that crosses chunks."""

    def test_each_equals_the_model(self) -> None:
        ids, tiles = prompts()[2]
        pixels = torch.randn(tiles, 3, 56, 56, generator=torch.Generator().manual_seed(6))
        scout = {"interleave_moe_layer_step": 1, "num_experts_per_tok": 1, "num_local_experts": 3}
        cases = {"experts in every layer, one a token": scout, "no norm of queries": {"use_qk_norm": False}, "experts in every third layer": {"interleave_moe_layer_step": 3},
                 "default rope": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, "no temperature": {"attn_temperature_tuning": False},
                 "attention bias": {"attention_bias": True}, "other layers without rope": {"no_rope_layers": [0, 1, 0, 1]},
                 "rope and full attention": {"layer_types": ["full_attention"] * 4}, "tied": {"tie_word_embeddings": True}}
        for name, changes in cases.items():
            for static in (False, True):
                with self.subTest(name, static=static):
                    settings = config(text=changes)
                    model = tiny(settings)
                    if name == "tied":
                        model.language_model.lm_head.weight = model.language_model.model.embed_tokens.weight
                    tokens, logits = Exported.reference(model, ids, pixels, 40)
                    programs = Programs(llama4.export(settings, model.state_dict(), static))
                    rows = programs.vision.run(None, {"pixel_values": pixels.numpy()})[0]
                    got, scores = programs.answer([(ids, rows)], chunk=20)
                    self.assertEqual(got[0][:40], tokens)
                    np.testing.assert_allclose(scores[:40, 0], logits, atol=1e-3, rtol=0)

    def test_static_angles_are_exact_at_every_position_and_need_no_long_table(self) -> None:
        text = config(text={"max_position_embeddings": 10485760}).text_config
        b = Builder("angles")
        cos, sin = rope_of(b, b.input("positions", onnx.TensorProto.INT64, [1, "n"]), text, static=True)
        for value, name in ((cos, "cos"), (sin, "sin")):
            b.output(value, name, onnx.TensorProto.FLOAT, [1, 1, "n", 4])
        model = b.model()
        self.assertLess(model.ByteSize(), 1_000_000)
        positions = np.array([0, 1, 1023, 1024, 131071, 1048577, 10485759], np.int64)
        got = session(model).run(["cos", "sin"], {"positions": positions[None]})
        angles = positions[:, None] * inverse_frequencies(text)[0].astype(np.float64)
        # Two products and a sum of f32 numbers up to 1, from tables rounded to f32: at most five roundings of 2^-24 and one more.
        for values, table in zip(got, (np.cos, np.sin)):
            np.testing.assert_allclose(values[0, 0], table(angles), atol=6 * 2**-24, rtol=0)


class Committed(unittest.TestCase):
    """The programs of test/golden/llama4-tiny on the reference's own pixels and token ids."""

    FOLDER = Path(__file__).resolve().parents[3] / "test" / "golden" / "llama4-tiny"
    SOURCES = FOLDER.parent / "images" / "sources"

    def rows(self, programs: Programs, processor: Any, names: list[str]) -> np.ndarray:
        if not names:
            return np.zeros((1, 48), np.float32)
        pictures = [ImageOps.exif_transpose(Image.open(self.SOURCES / name)).convert("RGB") for name in names]
        pixels = processor.image_processor(pictures, return_tensors="pt")["pixel_values"].float().numpy()
        return programs.vision.run(None, {"pixel_values": pixels})[0]

    def test_tokens_and_logits_of_generate_in_batches_of_three_and_chunks(self) -> None:
        golden = json.loads((self.FOLDER / "goldens.json").read_text())
        programs = Programs({name: onnx.load(self.FOLDER / f"{name}.onnx") for name in ("vision", "language")})
        processor = AutoProcessor.from_pretrained(self.FOLDER)
        asked = []
        for case in golden["cases"].values():
            ids = [i for part in case["ids"] for i in ([part] if isinstance(part, int) else [part[0]] * part[1])]
            asked.append((ids, self.rows(programs, processor, case["images"])))
        cases = list(golden["cases"].items())
        for start in range(0, len(cases), 3):
            part = asked[start : start + 3]
            whole, logits = programs.answer(part, ctx_len=1024)
            chunks, _ = programs.answer(part, ctx_len=1024, chunk=50)
            for row, (name, case) in enumerate(cases[start : start + 3]):
                self.assertEqual(whole[row], case["tokens"], name)
                self.assertEqual(chunks[row], case["tokens"], name)
                for step, expected in case["logits"].items():
                    np.testing.assert_allclose(logits[int(step), row, ::4], expected, atol=1e-3, rtol=0, err_msg=name)


if __name__ == "__main__":
    unittest.main()

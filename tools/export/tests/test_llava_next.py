"""Export of LLaVA-NeXT: what is refused, names of old and new checkpoints, packing order, and answers of the whole model."""
from __future__ import annotations

import math
import tempfile
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from transformers import LlavaNextConfig, LlavaNextForConditionalGeneration
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from tools.export.vlm_export import llava_next
from tools.export.vlm_export.builder import for_cpu


def config(**changes: Any) -> LlavaNextConfig:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 24, "image_size": 28, "num_attention_heads": 2,
              "num_hidden_layers": 3, "patch_size": 14, "hidden_act": "gelu_pytorch_tanh", **changes.pop("vision", {})}
    text = {"model_type": "granite", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 64, "embedding_multiplier": 3.0, "residual_multiplier": 0.7,
            "attention_multiplier": 0.4, "logits_scaling": 5.0, **changes.pop("text", {})}
    base = {"image_token_index": 49, "image_grid_pinpoints": [[28, 28], [28, 56], [56, 56]], "vision_feature_layer": [-3, 1, -1],
            "vision_feature_select_strategy": "full", "tie_word_embeddings": True}
    return LlavaNextConfig(vision_config=vision, text_config=text, **{**base, **changes})


def tiny(settings: LlavaNextConfig) -> LlavaNextForConditionalGeneration:
    torch.manual_seed(1)
    model = LlavaNextForConditionalGeneration(settings).eval()
    model.tie_weights()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((torch.randn_like(p) / math.sqrt(p[0].numel() if p.dim() > 1 else 9)).half().float())
    return model


def session(model: Any) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


class Refused(unittest.TestCase):
    def test_each_unknown_part_has_its_reason(self) -> None:
        self.assertIsNone(llava_next.unsupported(config()))
        cases = [({"vision": {"model_type": "clip_vision_model"}}, "clip_vision_model"), ({"text": {"model_type": "llama"}}, "llama"),
                 ({"vision_feature_select_strategy": "default"}, "class token"), ({"vision": {"hidden_act": "relu"}}, "relu"),
                 ({"projector_hidden_act": "silu"}, "silu"), ({"text": {"hidden_act": "gelu"}}, "gelu"),
                 ({"vision_feature_layer": 4}, "not among the 4 states"), ({"image_grid_pinpoints": []}, "image_grid_pinpoints"),
                 ({"image_grid_pinpoints": [[28]]}, "[height, width]"), ({"image_grid_pinpoints": [[-28, 28]]}, "[height, width]"),
                 ({"text": {"max_position_embeddings": 10**9}}, "max_position_embeddings"), ({"image_grid_pinpoints": [[28, 30]]}, "whole number of tiles"),
                 ({"text": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}}, "linear")]
        for changes, reason in cases:
            with self.subTest(changes):
                self.assertIn(reason, llava_next.unsupported(config(**changes)) or "")
        with self.assertRaisesRegex(ValueError, "class token"):
            llava_next.export(config(vision_feature_select_strategy="default"), {})


class Exported(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.config = config()
        cls.model = tiny(cls.config)
        cls.state = {k: v for k, v in cls.model.state_dict().items() if k != "lm_head.weight"}

    def test_names_of_older_checkpoints_give_the_same_programs(self) -> None:
        old = {}
        for name, value in self.state.items():
            name = name.removeprefix("model.").replace("language_model.", "language_model.model.", 1)
            old[name.replace("vision_tower.", "vision_tower.vision_model.", 1)] = value
        self.assertIn("vision_tower.vision_model.embeddings.patch_embedding.weight", old)
        new, again = llava_next.export(self.config, self.state), llava_next.export(self.config, old)
        for name in new:
            self.assertEqual(new[name].SerializeToString(), again[name].SerializeToString())

    def test_rows_are_packed_as_the_model_packs_them(self) -> None:
        patches = 2
        for width, height in [(1610, 1109), (10, 100), (100, 10), (56, 56), (1, 300), (90, 91)]:
            tiles, order = llava_next.packed_rows(self.config, (width, height))
            numbered = torch.arange(tiles * patches**2, dtype=torch.float32).reshape(tiles, patches**2, 1)
            holder = type("Holder", (), {"config": self.config})()
            newline = torch.tensor([float(tiles * patches**2)])
            rows, _ = LlavaNextModel.pack_image_features(holder, [numbered], torch.tensor([[height, width]]), "full", newline)
            self.assertEqual(rows[0][:, 0].long().tolist(), order.tolist(), (width, height))

    def test_both_kinds_and_the_language_program_equal_the_model(self) -> None:
        tiles, order = llava_next.packed_rows(self.config, llava_next.PACKED_SIZE)
        pixels = torch.randn(tiles, 3, 28, 28, generator=torch.Generator().manual_seed(2))
        height, width = llava_next.PACKED_SIZE[1], llava_next.PACKED_SIZE[0]
        programs = llava_next.export(self.config, self.state)
        opened = session(programs["vision"]).run(None, {"pixel_values": pixels.numpy()})[0]
        self.assertEqual(opened.shape, (tiles, 5, 24))
        flat = np.concatenate([opened[:, :-1].reshape(-1, 24), opened[0, -1:]])
        packed = session(llava_next.export(self.config, self.state, packed=True)["vision"]).run(None, {"pixel_values": pixels.numpy()[None]})[0]
        np.testing.assert_array_equal(flat[order], packed[0])
        ids = torch.tensor([[3, 4, *[49] * len(order), 5, 6, 7]])
        with torch.no_grad():
            expected = self.model(input_ids=ids, pixel_values=pixels[None], image_sizes=torch.tensor([[height, width]])).logits[0, -1].numpy()
        past = {f"past_{kind}.{n}": np.zeros((1, 2, 64, 6), np.float32) for n in range(2) for kind in ("key", "value")}
        logits = session(programs["language"]).run(["logits"], {
            "input_ids": ids.numpy(), "position_ids": np.arange(ids.shape[1])[None], "vision_embeds": packed,
            "image_idx": np.zeros((1, 1), np.int64), **past})[0]
        np.testing.assert_allclose(logits[0, 0], expected, atol=1e-4)

    def test_the_program_for_the_processor_equals_the_model(self) -> None:
        settings = config(text={"hidden_size": 64})
        model = tiny(settings)
        state = {k: v for k, v in model.state_dict().items() if k != "lm_head.weight"}
        ids = torch.tensor([[3, 4, 5, 6, 7, 8]])
        with torch.no_grad():
            expected = model(input_ids=ids).logits[0, -1].numpy()
        with tempfile.TemporaryDirectory() as folder:
            with for_cpu(Path(folder)):
                language = llava_next.export(settings, state)["language"]
            self.assertEqual(sum(n.op_type == "GroupQueryAttention" for n in language.graph.node), 2)
            onnx.save(language, Path(folder) / "language.onnx")
            program = ort.InferenceSession(Path(folder) / "language.onnx", providers=["CPUExecutionProvider"])
            past = {f"past_{kind}.{n}": np.zeros((1, 2, 16, 16), np.float32) for n in range(2) for kind in ("key", "value")}
            for start, end in ((0, 4), (4, 6)):
                logits, *caches = program.run(["logits", *[f"{n}_RetainedState" for n in past]], {
                    "input_ids": ids.numpy()[:, start:end], "position_ids": np.arange(start, end)[None], "image_idx": np.zeros((1, 1), np.int64),
                    "vision_embeds": np.zeros((1, 1, 64), np.float32), **past})
                past = dict(zip(past, caches))
        np.testing.assert_allclose(logits[0, 0], expected, atol=1e-4)


if __name__ == "__main__":
    unittest.main()

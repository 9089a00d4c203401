"""From a checkpoint's folder to a model folder: what is written, what is refused, both layouts of InternVL, both targets."""
from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from tools.export.tests import test_export, test_llama4, test_llava_next
from tools.export.vlm_export import folder as folder_module
from tools.export.vlm_export import preflight
from tools.export.vlm_export.__main__ import main
from tools.export.vlm_export.runtime import DualProgram

OTHER = {"tokenizer.json": {"added_tokens": [{"id": test_export.IMAGE, "content": "<IMG_CONTEXT>"}]}, "tokenizer_config.json": {}, "preprocessor_config.json": {}, "chat_template.jinja": {}}


def write(folder: Path, config: dict[str, Any], state: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": config, **OTHER}.items():
        (folder / name).write_text(json.dumps(content))
    save_file({k: v.contiguous().clone() for k, v in state.items()}, folder / "model.safetensors")
    return folder


def chat(model: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A model of the Hugging Face layout as OpenGVLab's: configuration and names are those of its published folders."""
    vision, text = model.config.vision_config, model.config.text_config
    config = {"model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "ps_version": "v2", "select_layer": -1, "downsample_ratio": 0.5,
              "force_image_size": vision.image_size[0], "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
              "llm_config": {"model_type": "qwen2", **{k: getattr(text, k) for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings", "head_dim", "rms_norm_eps") if hasattr(text, k)}, "rope_theta": text.rope_parameters["rope_theta"]},
              "vision_config": {"model_type": "intern_vit_6b", "image_size": vision.image_size[0], "patch_size": vision.patch_size[0],
                                **{k: getattr(vision, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps")}}}
    state = model.state_dict()
    out: dict[str, torch.Tensor] = {}
    plain = {"attention.projection_layer": "attn.proj", "attention.q_norm": "attn.q_norm", "attention.k_norm": "attn.k_norm", "layernorm_before": "norm1", "layernorm_after": "norm2", "lambda_1": "ls1", "lambda_2": "ls2"}
    for name, value in state.items():
        if name == "lm_head.weight":
            if not model.config.tie_word_embeddings:
                out["language_model.lm_head.weight"] = value
        elif name.startswith("model.language_model."):
            out["language_model.model." + name.removeprefix("model.language_model.")] = value
        elif name.startswith("model.multi_modal_projector."):
            part, kind = name.split(".")[2:]
            out[f"mlp1.{ {'layer_norm': 0, 'linear_1': 1, 'linear_2': 3}[part]}.{kind}"] = value
        elif ".layer." in name:
            number, rest = name.split(".layer.")[1].split(".", 1)
            prefix = f"vision_model.encoder.layers.{number}."
            if rest.startswith(("attention.k_proj", "attention.v_proj")):
                continue
            if rest.startswith("attention.q_proj"):
                kind = rest.rsplit(".", 1)[1]
                out[f"{prefix}attn.qkv.{kind}"] = torch.cat([state[name.replace("q_proj", f"{c}_proj")] for c in "qkv"])
                continue
            for new, old in plain.items():
                rest = rest.replace(new, old, 1) if rest.startswith(new) else rest
            out[prefix + rest] = value
        else:
            rest = name.removeprefix("model.vision_tower.embeddings.").replace("cls_token", "class_embedding")
            out["vision_model.embeddings." + rest.replace("patch_embeddings.projection", "patch_embedding").replace("position_embeddings", "position_embedding")] = value
    return config, out


class Case(unittest.TestCase):
    def setUp(self) -> None:
        torch.set_num_threads(1)
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)

    def run_cli(self, *arguments: object) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON document, standard error."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(a) for a in (*arguments, "--json")])
        self.assertNotIn("Traceback", err.getvalue())
        return code, json.loads(out.getvalue()), err.getvalue()

    def internvl(self, **options: Any) -> tuple[Any, Path]:
        model = test_export.tiny(**options)
        skip = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
        return model, write(self.root / "hf", model.config.to_dict(), {k: v for k, v in model.state_dict().items() if k not in skip})

    def answers(self, model: Any, folder: Path, pads: tuple[bool, ...] = (False,)) -> None:
        ids, pixels = test_export.Contract.prompt(self, tiles=2)  # type: ignore[arg-type]
        tokens, logits = test_export.Contract.reference(self, model, ids, pixels, 24)  # type: ignore[arg-type]
        programs = DualProgram(folder)
        for pad in pads:
            for chunk in (999, 5):
                got = programs.generate(ids, pixels, -1, 24, chunk, 64, pad and chunk == 5)
                self.assertEqual(got.tokens, tokens)
                self.assertLess(np.abs(np.stack(got.logits) - logits).max(), 1e-3)


class Written(Case):
    def test_a_complete_folder_whose_programs_answer_as_the_model(self) -> None:
        model, source = self.internvl(head_dim=16)
        code, done, _ = self.run_cli(source, "--out", self.root / "out", "--external-over", "1k")
        out = self.root / "out"
        self.assertEqual(code, 0)
        self.assertEqual(sorted(p.name for p in out.iterdir()), sorted(["config.json", *OTHER, "export.json", "language.onnx", "language.onnx.data", "vision.onnx", "vision.onnx.data"]) if (out / "vision.onnx.data").exists() else sorted(["config.json", *OTHER, "export.json", "language.onnx", "vision.onnx"]))
        record = json.loads((out / "export.json").read_text())
        self.assertEqual(record["files"], {p.name: folder_module.digest(p) for p in out.iterdir() if p.name != "export.json"})
        self.assertIn("GroupQueryAttention", done["attention"])
        self.answers(model, out)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["hf", "out"])

    def test_both_layouts_of_internvl_give_the_same_programs(self) -> None:
        for options in ({"tied": False}, {"norm": "rms_norm", "qk_norm": True}):
            model, source = self.internvl(**options)
            theirs = write(self.root / "chat", *chat(model))
            for n, folder in enumerate((source, theirs)):
                self.assertEqual(self.run_cli(folder, "--out", self.root / f"out{n}", "--force")[0], 0)
            for name in ("vision.onnx", "language.onnx"):
                self.assertEqual((self.root / "out0" / name).read_bytes(), (self.root / "out1" / name).read_bytes())
            self.assertEqual(json.loads((self.root / "out1" / "config.json").read_text())["model_type"], "internvl_chat")
            self.answers(model, self.root / "out1")

    def test_weights_beside_the_graph_are_those_inside_it(self) -> None:
        _, source = self.internvl()
        for target in ("cpu", "ai100"):
            models = []
            for n, over in enumerate(("1G", "0")):
                with mock.patch("tools.export.vlm_export.builder.WeightFile.INLINE_BYTES", 64):
                    self.assertEqual(self.run_cli(source, "--out", self.root / f"{target}{n}", "--target", target, "--external-over", over)[0], 0)
                self.assertEqual((self.root / f"{target}{n}" / "language.onnx.data").exists(), over == "0")
                models.append(onnx.load(self.root / f"{target}{n}" / "language.onnx"))
            inside, beside = ({t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in models)
            self.assertEqual(inside.keys(), beside.keys())
            for name in inside:
                np.testing.assert_array_equal(inside[name], beside[name])

    def test_force_replaces_only_what_the_tool_wrote(self) -> None:
        _, source = self.internvl()
        out = self.root / "out"
        self.assertEqual(self.run_cli(source, "--out", out)[0], 0)
        code, done, _ = self.run_cli(source, "--out", out)
        self.assertEqual((code, done["hint"]), (2, "name another folder, or replace it with --force"))
        (out / "left.txt").write_text("old")
        self.assertEqual(self.run_cli(source, "--out", out, "--force")[0], 0)
        self.assertFalse((out / "left.txt").exists())
        mine = self.root / "mine"
        mine.mkdir()
        self.assertEqual(self.run_cli(source, "--out", mine, "--force")[0], 2)
        self.assertEqual(self.run_cli(source, "--out", source, "--force")[0], 2)

    def test_a_failure_half_way_leaves_what_was_there(self) -> None:
        _, source = self.internvl()
        out = self.root / "out"
        self.run_cli(source, "--out", out)
        before = {p.name: p.read_bytes() for p in out.iterdir()}
        for error, code in ((OSError("disk"), 5), (KeyboardInterrupt(), 130), (MemoryError(), 5), (KeyError("norm"), 5)):
            with mock.patch.object(folder_module.onnx, "save", side_effect=error):
                self.assertEqual(self.run_cli(source, "--out", out, "--force")[0], code)
                self.assertEqual(self.run_cli(source, "--out", self.root / "new")[0], code)
        self.assertEqual({p.name: p.read_bytes() for p in out.iterdir()}, before)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["hf", "out"])

    def test_what_a_killed_export_left_goes_with_the_next_one_and_costs_nothing(self) -> None:
        _, source = self.internvl()
        out, draft, old = self.root / "out", self.root / ".out.77.tmp", self.root / ".out.77.old"
        others = [self.root / name for name in (".out2.77.tmp", ".out.mine.tmp", ".out.77.tmp.d")]
        for folder in (draft, *others):
            folder.mkdir()
            (folder / "language.onnx").write_text("half")
        kept = sorted(["hf", "out", *(p.name for p in others)])
        self.assertEqual(self.run_cli(source, "--out", out)[0], 0)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), kept)
        record = (out / "export.json").read_bytes()
        # Killed between the two moves of a replacement: what there was comes back, and is not replaced unasked.
        out.rename(old)
        draft.mkdir()
        self.assertEqual(self.run_cli(source, "--out", out)[0], 2)
        self.assertEqual((out / "export.json").read_bytes(), record)
        # Killed behind them: the new one stays.
        shutil.copytree(out, old)
        self.assertEqual(self.run_cli(source, "--out", out)[0], 2)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), kept)

    def test_the_draft_of_an_export_that_still_writes_stays(self) -> None:
        _, source = self.internvl()
        out, save, seen = self.root / "out", onnx.save, []

        def saving(*given: Any) -> None:
            folder_module.clear(out)
            seen.extend(p.name for p in self.root.glob(".out.*"))
            save(*given)

        with mock.patch.object(folder_module.onnx, "save", saving):
            self.assertEqual(self.run_cli(source, "--out", out)[0], 0)
        self.assertEqual(seen, [f".out.{os.getpid()}.tmp"] * 2)

    def test_places_where_no_folder_can_be_are_refused_as_such(self) -> None:
        _, source = self.internvl()
        file = self.root / "file"
        file.write_text("")
        (self.root / "loop").symlink_to("loop")
        for place, words in ((file / "out", "file is a file"), (file / "deep" / "out", "file is a file"), (file, "is there already"),
                             (self.root / ("x" * 300), "cannot be used"), (self.root / "loop", "out")):
            with self.subTest(place):
                code, done, _ = self.run_cli(source, "--out", place)
                self.assertEqual(code, 2, done)
                self.assertIn(words, done["error"])
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["file", "hf", "loop"])

    def test_a_link_to_a_folder_is_written_through(self) -> None:
        _, source = self.internvl()
        link, behind = self.root / "link", self.root / "behind"
        link.symlink_to(behind)
        for options in ((), ("--force",)):
            self.assertEqual(self.run_cli(source, "--out", link, *options)[0], 0)
            self.assertTrue(link.is_symlink())
            self.assertTrue((behind / "language.onnx").is_file())
        inside = self.root / "behind" / "hf"
        shutil.copytree(source, inside)
        self.assertEqual(self.run_cli(inside, "--out", link, "--force")[0], 2)

    def test_every_family_is_exported_for_both_targets(self) -> None:
        granite, scout = test_llava_next.config(), test_llama4.config()
        models = {"llava_next": (granite, test_llava_next.tiny(granite)), "llama4": (scout, test_llama4.tiny(scout))}
        for kind, (config, model) in models.items():
            skip = {"lm_head.weight"} if kind == "llava_next" else set()
            source = write(self.root / kind, config.to_dict(), {k: v for k, v in model.state_dict().items() if k not in skip})
            for target in ("cpu", "ai100"):
                code, done, _ = self.run_cli(source, "--out", self.root / f"{kind}-{target}", "--target", target)
                self.assertEqual((code, done.get("unused_tensors")), (0, 0 if kind == "llama4" else done.get("unused_tensors")))
                self.assertEqual(done["model_type"], kind)

    def test_which_flag_ties_the_head_is_that_of_transformers(self) -> None:
        for top, text in ((False, True), (True, False)):
            config = test_llama4.config(tie_word_embeddings=top, text={"tie_word_embeddings": text})
            state = test_llama4.tiny(config).state_dict()
            head = "language_model.lm_head.weight"
            source = write(self.root / f"{top}", config.to_dict(), {k: v for k, v in state.items() if k != head})
            code, done, _ = self.run_cli(source, "--out", self.root / f"out-{top}")
            self.assertEqual((code, head in done.get("error", "")), (0, False) if text else (3, True))

    def test_a_tokenizer_is_made_of_vocabulary_and_merges(self) -> None:
        source, out = self.root / "source", self.root / "made"
        source.mkdir()
        out.mkdir()
        (source / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}))
        (source / "merges.txt").write_text("#version: 0.2\na b\n")
        added = {"content": "<IMG_CONTEXT>", "special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
        (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": {"4": added}}))
        folder_module.write_tokenizer(source, out)
        made = Tokenizer.from_file(str(out / "tokenizer.json"))
        self.assertEqual(made.encode("abb<IMG_CONTEXT>a").ids, [2, 1, 4, 0])


class Refusals(Case):
    def refused(self, source: Path, words: str, code: int = 3, **options: Any) -> None:
        """Refused with the reason, before any tensor is read, and nothing is left."""
        with mock.patch("safetensors.safe_open", side_effect=AssertionError("a tensor was read")):
            got, done, err = self.run_cli(source, "--out", self.root / "out")
        self.assertEqual(got, code, done)
        self.assertIn(words, done["error"])
        self.assertIn(words, err)
        self.assertFalse((self.root / "out").exists())

    def changed(self, source: Path, **changes: Any) -> None:
        path = source / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def state(self, source: Path, change: Any) -> None:
        state = load_file(source / "model.safetensors")
        change(state)
        save_file(state, source / "model.safetensors")

    def test_configurations(self) -> None:
        self.refused(self.root / "nowhere", "there is no folder")
        _, source = self.internvl()
        whole = (source / "config.json").read_text()
        cases = [({"model_type": "qwen2_vl"}, "qwen2_vl"), ({"model_type": None}, "None"),
                 ({"quantization_config": {"quant_method": "awq"}}, "quantized (awq)"), ({"vision_feature_layer": -2}, "vision_feature_layer"),
                 ({"text_config": {**json.loads(whole)["text_config"], "model_type": "qwen3"}}, "qwen3"),
                 ({"text_config": {**json.loads(whole)["text_config"], "hidden_size": "wide"}}, "config.json is not usable"),
                 ({"text_config": [1]}, "text_config of config.json is no object"), ({"quantization_config": "gptq"}, "quantized (gptq)"),
                 ({"model_type": ["internvl"]}, "no exporter"), ({"image_token_id": 4000}, "vocabulary of 96"),
                 ({"vision_config": {**json.loads(whole)["vision_config"], "num_attention_heads": 3}}, "num_heads"),
                 *(({"text_config": {**json.loads(whole)["text_config"], **text}}, words) for text, words in (
                     ({"model_type": "internlm2"}, "not one that transformers has"), ({"max_position_embeddings": 10**9}, "1000000000 is not from"),
                     ({"num_hidden_layers": 10**7, "layer_types": None}, "names 10000000 layers"),
                     ({"layer_types": ["sliding_attention"] * 3}, "layer_types"),
                     ({"num_hidden_layers": 2, "layer_types": ["full_attention"] * 2}, "does not account for 12 tensors"),
                     ({"rope_parameters": {"rope_type": "default", "rope_theta": float("nan")}}, "NaN is no number")))]
        for changes, words in cases:
            with self.subTest(changes):
                self.changed(source, **changes)
                self.refused(source, words)
                (source / "config.json").write_text(whole)
        (source / "config.json").write_text("{")
        self.refused(source, "config.json cannot be read")
        (source / "config.json").unlink()
        self.refused(source, "no config.json")

    def test_weights(self) -> None:
        norm = "model.language_model.norm.weight"
        changes = [(lambda s: s.pop(norm), "1 of"), (lambda s: s.update({norm: torch.ones(7)}), "[7], expected [24]"),
                   (lambda s: s.update({norm: torch.ones(24, 1, dtype=torch.int8)}), "quantized: tensors of I8"),
                   (lambda s: s.update({norm: torch.ones(24, dtype=torch.int32)}), "quantized: tensors of I32"),
                   (lambda s: s.update({"model.language_model.layers.0.self_attn.o_proj.bias": torch.ones(24)}), "o_proj.bias")]
        for change, words in changes:
            with self.subTest(words):
                _, source = self.internvl()
                self.state(source, change)
                self.refused(source, words)
        _, source = self.internvl()
        weights = source / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-5])
        self.refused(source, "where its header says")
        weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        self.refused(source, "no safetensors file")
        weights.unlink()
        (source / "pytorch_model.bin").write_bytes(b"")
        self.refused(source, "pytorch_model.bin, which is not read")
        (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {norm: "model-1-of-2.safetensors"}}))
        self.refused(source, "1 of 1 weight files are missing")

    def test_files_and_disk(self) -> None:
        model, source = self.internvl()
        with mock.patch.object(preflight.shutil, "disk_usage", return_value=mock.Mock(free=1000)):
            self.refused(source, "GB are free")
        for name in OTHER:
            shutil.move(source / name, self.root / name)
            self.refused(source, name)
            shutil.move(self.root / name, source / name)
        for name in OTHER:
            (source / name).unlink()
        self.assertEqual(self.run_cli(source, "--out", self.root / "out", "--programs-only")[0], 0)

    def test_the_other_layout(self) -> None:
        model, _ = self.internvl()
        source = write(self.root / "chat", *chat(model))
        whole = json.loads((source / "config.json").read_text())
        for changes, words in (({"ps_version": "v1"}, "ps_version"), ({"llm_config": {"model_type": "internlm2"}}, "internlm2")):
            self.changed(source, **changes)
            self.refused(source, words)
            self.changed(source, **whole)
        (source / "tokenizer.json").write_text("{}")
        self.refused(source, "<IMG_CONTEXT>")

    def test_numbers_that_f16_does_not_hold(self) -> None:
        _, source = self.internvl()
        self.state(source, lambda s: s["model.language_model.embed_tokens.weight"].fill_(1e5))
        code, done, _ = self.run_cli(source, "--out", self.root / "out", "--target", "ai100")
        self.assertEqual(code, 3)
        self.assertIn("f16 does not hold", done["error"])
        self.assertEqual(self.run_cli(source, "--out", self.root / "out")[0], 0)


if __name__ == "__main__":
    unittest.main()

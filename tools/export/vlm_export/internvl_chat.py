"""InternVL in OpenGVLab's own layout (`internvl_chat`): its configuration and tensor names as the Hugging Face layout's.

The remote code of such a repository is never run: everything follows from config.json and the safetensors headers.
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, shape_of
from .errors import Refused

CONTEXT = "<IMG_CONTEXT>"
LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(.+)")
PARTS = {"ls1": "lambda_1", "ls2": "lambda_2", "attn.proj": "attention.projection_layer", "attn.q_norm": "attention.q_norm",
         "attn.k_norm": "attention.k_norm", "norm1": "layernorm_before", "norm2": "layernorm_after"}
NAMES = {"vision_model.embeddings.class_embedding": "model.vision_tower.embeddings.cls_token",
         "vision_model.embeddings.patch_embedding.": "model.vision_tower.embeddings.patch_embeddings.projection.",
         "vision_model.embeddings.position_embedding": "model.vision_tower.embeddings.position_embeddings",
         "mlp1.0.": "model.multi_modal_projector.layer_norm.", "mlp1.1.": "model.multi_modal_projector.linear_1.",
         "mlp1.3.": "model.multi_modal_projector.linear_2.", "language_model.lm_head.": "lm_head.", "language_model.model.": "model.language_model."}


def image_token(folder: Path) -> int:
    """Id of the image-context token, which this layout keeps in its tokenizer alone."""
    def content(name: str) -> Any:
        path = folder / name
        return json.loads(path.read_text()) if path.is_file() else {}
    try:
        for token in content("tokenizer.json").get("added_tokens", []):
            if token["content"] == CONTEXT:
                return int(token["id"])
        if CONTEXT in (added := content("added_tokens.json")):
            return int(added[CONTEXT])
        for number, token in content("tokenizer_config.json").get("added_tokens_decoder", {}).items():
            if token["content"] == CONTEXT:
                return int(number)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"the tokenizer's files cannot be read: {error}", hint="fetch them again") from error
    raise Refused(f"no tokenizer file has the token {CONTEXT}", hint="copy tokenizer.json, or tokenizer_config.json and added_tokens.json, from the model's repository")


def unsupported(raw: dict[str, Any]) -> str | None:
    llm = raw.get("llm_config", {})
    checks = [
        (llm.get("model_type") == "qwen2", f"the text model is {llm.get('model_type')!r} ({', '.join(llm.get('architectures', []))}), not 'qwen2'"),
        (raw.get("ps_version", "v1") == "v2", f"ps_version is {raw.get('ps_version', 'v1')!r}, not 'v2'"),
        (raw.get("select_layer", -1) == -1, f"select_layer is {raw.get('select_layer')}, not -1"),
    ]
    return next((reason for holds, reason in checks if not holds), None)


def config_of(raw: dict[str, Any], state: Checkpoint, token: int) -> Any:
    """InternVLConfig of a checkpoint. Which biases and norms there are is read from the tensors: published files leave it out."""
    from transformers import InternVLConfig

    reason = unsupported(raw)
    if reason is not None:
        raise Refused(reason)
    tower, first = raw["vision_config"], "vision_model.encoder.layers.0."
    size, patch = raw.get("force_image_size") or tower.get("image_size", 448), tower.get("patch_size", 14)
    vision = {
        "hidden_size": tower["hidden_size"], "intermediate_size": tower["intermediate_size"], "num_hidden_layers": tower["num_hidden_layers"],
        "num_attention_heads": tower["num_attention_heads"], "image_size": [size, size], "patch_size": [patch, patch],
        "num_channels": tower.get("num_channels", 3), "hidden_act": tower.get("hidden_act", "gelu"), "layer_norm_eps": tower.get("layer_norm_eps", 1e-6),
        "attention_bias": f"{first}attn.qkv.bias" in state, "use_qk_norm": f"{first}attn.q_norm.weight" in state,
        "norm_type": "layer_norm" if f"{first}norm1.bias" in state else "rms_norm", "use_mean_pooling": True, "use_absolute_position_embeddings": True}
    tied = "language_model.lm_head.weight" not in state
    skip = {"architectures", "auto_map", "_name_or_path", "torch_dtype", "dtype", "transformers_version", "attn_implementation", "_attn_implementation"}
    text = {k: v for k, v in raw["llm_config"].items() if k not in skip}
    text["tie_word_embeddings"] = tied
    return InternVLConfig(vision_config=vision, text_config=text, image_token_id=token, downsample_ratio=raw.get("downsample_ratio", 0.5),
                          image_seq_length=int((size // patch * raw.get("downsample_ratio", 0.5)) ** 2), tie_word_embeddings=tied)


class Converted(Mapping[str, Any]):
    """Tensors under the Hugging Face layout's names; the joined query-key-value weights are cut when asked for."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.source = source
        self.names: dict[str, tuple[str, int | None]] = {}
        for name in source:
            for new, part in self._new(name):
                self.names[new] = (name, part)

    @staticmethod
    def _new(name: str) -> Iterator[tuple[str, int | None]]:
        found = LAYER.fullmatch(name)
        if found is None:
            for old, new in NAMES.items():
                if name.startswith(old):
                    yield new + name[len(old):], None
                    return
            yield name, None
            return
        prefix, rest = f"model.vision_tower.encoder.layer.{found[1]}.", found[2]
        if rest.startswith("attn.qkv."):
            for part, letter in enumerate("qkv"):
                yield f"{prefix}attention.{letter}_proj.{rest.removeprefix('attn.qkv.')}", part
            return
        for old, new in PARTS.items():
            if rest == old or rest.startswith(f"{old}."):
                yield prefix + new + rest[len(old):], None
                return
        yield prefix + rest, None

    def __getitem__(self, name: str) -> Any:
        source, part = self.names[name]
        value = self.source[source]
        return value if part is None else value.chunk(3)[part]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def shape(self, name: str) -> tuple[int, ...]:
        source, part = self.names[name]
        whole = shape_of(self.source, source)
        return whole if part is None else (whole[0] // 3, *whole[1:])

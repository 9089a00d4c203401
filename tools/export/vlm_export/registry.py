"""Which model types there are and how each is read, checked and exported: adding one is one module and one line here."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from . import internvl, internvl_chat, llama4, llava_next
from .checkpoint import Checkpoint
from .errors import Refused

State = Mapping[str, Any]


@dataclass(frozen=True)
class Exporter:
    """One model type. `read` gives the configuration and the tensors as `export` wants them, reading no tensor."""

    read: Callable[[Path, dict[str, Any], Checkpoint], tuple[Any, State]]
    unsupported: Callable[[Any], str | None]
    architecture: str  # of transformers: what tensors there must be
    export: Callable[[Any, State, bool], dict[str, onnx.ModelProto]]
    names: Callable[[State], State]  # checkpoints of every generation as one
    processor: bool = True  # whether a run needs preprocessor_config.json or processor_config.json
    tied: Callable[[Any], bool] = lambda config: bool(config.tie_word_embeddings)  # whether the embedding table is the head as well
    fused: str | None = None  # why attention is not ONNX Runtime's fused operator; None where it is


def _plain(folder: Path, raw: dict[str, Any], state: Checkpoint) -> tuple[Any, State]:
    from transformers import CONFIG_MAPPING, AutoConfig

    for part in ("text_config", "vision_config"):
        kind = (raw.get(part) or {}).get("model_type")
        if kind is not None and kind not in CONFIG_MAPPING:
            raise Refused(f"model_type {kind!r} of {part} is not one that transformers has", hint="this architecture has no exporter yet")
    return AutoConfig.from_pretrained(folder), state


def _chat(folder: Path, raw: dict[str, Any], state: Checkpoint) -> tuple[Any, State]:
    return internvl_chat.config_of(raw, state, internvl_chat.image_token(folder)), internvl_chat.Converted(state)


EXPORTERS: dict[str, Exporter] = {
    "internvl": Exporter(_plain, internvl.unsupported, "InternVLForConditionalGeneration", lambda c, s, card: internvl.export(c, s), internvl.canonical),
    "internvl_chat": Exporter(_chat, internvl.unsupported, "InternVLForConditionalGeneration", lambda c, s, card: internvl.export(c, s), internvl.canonical,
                              processor=False),
    "llava_next": Exporter(_plain, llava_next.unsupported, "LlavaNextForConditionalGeneration", lambda c, s, card: llava_next.export(c, s), llava_next.canonical),
    "llama4": Exporter(_plain, llama4.unsupported, "Llama4ForConditionalGeneration", lambda c, s, card: llama4.export(c, s, static=card), lambda s: s,
                       tied=lambda c: bool(c.text_config.tie_word_embeddings), fused="the operator has neither attention in chunks nor norms behind the rotation"),
}

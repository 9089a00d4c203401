"""Everything that can be refused before memory is spent: config.json, safetensors headers, the files beside them, the disk."""
from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, shape_of
from .errors import Refused
from .registry import EXPORTERS, Exporter, State

FLOATS = ("F32", "F16", "BF16", "F64")
# Tensors that transformers' classes have and no program reads.
UNREAD = re.compile(r"(post_layernorm\.|vision_tower\.head\.|vision_model\.head\.|mask_token|inv_freq|position_ids$)")
# Parts that are taken whole: a tensor of them that the configuration does not know would change the answers.
WHOLE = re.compile(r"(\.layers?\.\d+\.|projector\.)")
SECTIONS = ("text_config", "llm_config", "vision_config")


@dataclass(frozen=True)
class Checked:
    kind: str
    exporter: Exporter
    config: Any
    state: State
    parameters: int
    unused: int


def read_config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}", hint="give the folder that holds config.json and the safetensors files")
    path = folder / "config.json"

    def no_number(word: str) -> float:
        raise ValueError(f"{word} is no number")

    try:
        raw = json.loads(path.read_text(), parse_constant=no_number)
    except FileNotFoundError as error:
        raise Refused(f"there is no config.json in {folder}", hint="give the folder of a checkpoint as the hub has it") from error
    except (OSError, ValueError) as error:
        raise Refused(f"config.json cannot be read: {error}", hint="fetch it again") from error
    if not isinstance(raw, dict):
        raise Refused("config.json is no object", hint="fetch it again")
    for name in SECTIONS:
        if not isinstance(raw.get(name) or {}, dict):
            raise Refused(f"{name} of config.json is no object", hint="fetch it again")
    return raw


def check_kind(raw: dict[str, Any]) -> str:
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in EXPORTERS:
        raise Refused(f"no exporter for model_type {kind!r}; there are: {', '.join(EXPORTERS)}")
    for part in (raw, *(raw.get(name) or {} for name in SECTIONS)):
        for key in ("quantization_config", "compression_config"):
            if settings := part.get(key):
                method = settings.get("quant_method", "unknown") if isinstance(settings, dict) else settings
                raise Refused(f"the weights are quantized ({method})",
                              hint="use the checkpoint in bf16, f16 or f32: the card's compiler quantizes by itself")
    return str(kind)


def has_template(folder: Path) -> bool:
    """In a file of its own, or inside one of those that have kept it."""
    if (folder / "chat_template.jinja").is_file():
        return True
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        try:
            if json.loads((folder / name).read_text()).get("chat_template"):
                return True
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise Refused(f"{name} cannot be read: {error}", hint="fetch it again") from error
    return False


def check_files(folder: Path, exporter: Exporter) -> None:
    missing = []
    if not (folder / "tokenizer.json").is_file() and not all((folder / n).is_file() for n in ("vocab.json", "merges.txt")):
        missing.append("tokenizer.json (or vocab.json and merges.txt)")
    if not (folder / "tokenizer_config.json").is_file():
        missing.append("tokenizer_config.json")
    if exporter.processor and not any((folder / n).is_file() for n in ("preprocessor_config.json", "processor_config.json")):
        missing.append("preprocessor_config.json or processor_config.json")
    if exporter.processor and not has_template(folder):
        missing.append("chat_template.jinja")
    if missing:
        raise Refused(f"missing beside config.json: {', '.join(missing)}",
                      hint="copy them from the model's repository, or write the two programs alone with --programs-only")


def check_tensors(exporter: Exporter, config: Any, headers: Checkpoint, state: State) -> int:
    """Against the shapes that transformers' own class has for this configuration. Returns how many tensors are not used."""
    import torch
    import transformers

    odd = sorted({h.dtype for name, h in headers.headers.items() if h.dtype not in FLOATS and not UNREAD.search(name)})
    if odd:
        raise Refused(f"the weights are quantized: tensors of {', '.join(odd)}", hint="use the checkpoint in bf16, f16 or f32")
    check_depth(config, headers)
    try:
        with torch.device("meta"):
            model = getattr(transformers, exporter.architecture)(config)
    except Exception as error:  # noqa: BLE001  as for config.json: whatever settings that do not go together make it raise
        raise unusable(error) from error
    tied = exporter.tied(config)
    names = exporter.names(model.state_dict())
    expected = {n: tuple(names[n].shape) for n in names if not UNREAD.search(n) and not (tied and "lm_head." in n)}
    missing = sorted(n for n in expected if n not in state)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise Refused(f"{len(missing)} of {len(expected)} tensors are missing: {', '.join(missing[:3])}{more}",
                      hint="fetch every weight file; a checkpoint of an adapter has to be merged first")
    wrong = [(n, shape_of(state, n), shape) for n, shape in expected.items() if shape_of(state, n) != shape]
    if wrong:
        name, got, wanted = wrong[0]
        raise Refused(f"{len(wrong)} tensors do not fit config.json: {name} is {list(got)}, expected {list(wanted)}",
                      hint="config.json and the weights are of different models")
    unused = [n for n in state if n not in expected]
    unknown = sorted(n for n in unused if WHOLE.search(n) and not UNREAD.search(n))
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise Refused(f"config.json does not account for {len(unknown)} tensors: {', '.join(unknown[:3])}{more}",
                      hint="config.json and the weights are of different models: leaving them out would change every answer")
    return len(unused)


def check_depth(config: Any, headers: Checkpoint) -> None:
    """Before a model of that many layers is laid out, which takes time and memory even without its weights."""
    for part in (getattr(config, name, None) for name in ("vision_config", "text_config")):
        layers = getattr(part, "num_hidden_layers", 1)
        if not isinstance(layers, int) or not 0 < layers <= len(headers):
            raise Refused(f"config.json names {layers} layers of {getattr(part, 'model_type', 'a part')}; the weights are {len(headers)} tensors",
                          hint="config.json and the weights are of different models")


def check_space(parent: Path, needed: int) -> None:
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise Refused(f"the output needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free at {parent}", hint="free some space or choose another --out")


def unusable(error: Exception) -> Refused:
    return Refused(f"config.json is not usable: {type(error).__name__}: {' '.join(str(error).split())[:300]}", hint="fetch it again")


def check(folder: Path, card: bool, parent: Path, programs_only: bool = False) -> Checked:
    raw = read_config(folder)
    kind = check_kind(raw)
    exporter = EXPORTERS[kind]
    if not programs_only:
        check_files(folder, exporter)
    headers = Checkpoint(folder)
    try:
        config, state = exporter.read(folder, raw, headers)
        reason = exporter.unsupported(config)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001  transformers raises many kinds for a wrong config.json
        raise unusable(error) from error
    if reason is not None:
        raise Refused(reason, hint="this architecture has no exporter yet")
    if not 0 <= config.image_token_id < config.text_config.vocab_size:
        raise Refused(f"the image token's id {config.image_token_id} is not in a vocabulary of {config.text_config.vocab_size}", hint="fetch config.json again")
    state = exporter.names(state)
    unused = check_tensors(exporter, config, headers, state)
    parameters = sum(_count(h.shape) for h in headers.headers.values())
    check_space(parent, int(parameters * (2 if card else 4) * 1.02) + 64_000_000)
    return Checked(kind, exporter, config, state, parameters, unused)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count

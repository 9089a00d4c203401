"""The whole export: a model folder that appears complete or not at all."""
from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx

from .builder import building
from .errors import Refused
from .preflight import Checked, check

COPIED = ("config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json",
          "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
          "chat_template.jinja", "chat_template.json", "LICENSE", "LICENSE.txt", "NOTICE")
EXTERNAL_OVER = 64_000_000
RECORD = "export.json"
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Options:
    model: Path
    out: Path
    target: str = "cpu"  # or ai100
    force: bool = False
    programs_only: bool = False
    external_over: int = EXTERNAL_OVER


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tokenizer(source: Path, folder: Path) -> None:
    """tokenizer.json of a checkpoint that has only vocabulary and merges."""
    if (source / "tokenizer.json").is_file():
        return
    from transformers import Qwen2Tokenizer

    try:
        Qwen2Tokenizer.from_pretrained(source).backend_tokenizer.save(str(folder / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001  whatever the tokenizer's files make it raise
        raise Refused(f"no tokenizer.json can be made of vocab.json and merges.txt: {error}", hint="add tokenizer.json to the checkpoint's folder") from error


def attention_of(checked: Checked, model: onnx.ModelProto) -> str:
    if any(n.op_type == "GroupQueryAttention" for n in model.graph.node):
        return "fused (GroupQueryAttention)"
    return f"plain operators: {checked.exporter.fused or 'the fused operator takes heads of 16, 32, 48 … alone'}"


def write_programs(checked: Checked, options: Options, folder: Path, progress: Progress) -> str:
    card = options.target == "ai100"
    size = checked.parameters * (2 if card else 4)
    done = 0

    def wrote(count: int) -> None:
        nonlocal done
        done += count
        progress("weights", min(done / max(size, 1), 1.0))

    attention = "as the compiler makes it"
    with building(folder if size > options.external_over else None, card=card, wrote=wrote):
        for name, model in checked.exporter.export(checked.config, checked.state, card).items():
            if name == "language" and not card:
                attention = attention_of(checked, model)
            onnx.save(model, folder / f"{name}.onnx")
    return attention


def check_place(options: Options, out: Path) -> None:
    if out == options.model.resolve():
        raise Refused("--out is the checkpoint's own folder", hint="name another one: what is written replaces the whole folder", code=2)
    if options.model.resolve().is_relative_to(out) and out.exists():
        raise Refused(f"the checkpoint lies in {out}", hint="name another folder for --out: what is written replaces the whole of it", code=2)
    if out.exists() and not options.force:
        raise Refused(f"{out} is there already", hint="name another folder, or replace it with --force", code=2)
    if out.exists() and not (out / RECORD).is_file():
        raise Refused(f"{out} was not written by this tool (it has no {RECORD}), so --force does not replace it", hint="move it away yourself", code=2)
    above = next(p for p in out.parents if p.exists())
    if not above.is_dir():
        raise Refused(f"no folder can be made at {out}: {above} is a file", hint="name a place for --out whose parents are folders, or do not exist yet", code=2)


def locked(folder: Path) -> int | None:
    """A lock that ends with the process, however it ends, and says whose draft is still being written. None: another has it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks, where nothing can be told
        os.close(handle)
        return None
    return handle


def clear(out: Path) -> None:
    """Takes away what an export into this place left when it was killed, and puts back the folder that it was replacing."""
    for draft in beside(out, "tmp"):
        if (handle := locked(draft)) is None:
            continue
        old = draft.with_suffix(".old")
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(draft, ignore_errors=True)
        os.close(handle)
    for old in beside(out, "old"):
        if out.exists() and not old.with_suffix(".tmp").exists():
            shutil.rmtree(old, ignore_errors=True)


def beside(out: Path, kind: str) -> list[Path]:
    found = out.parent.glob(f".{glob.escape(out.name)}.*.{kind}")
    return [p for p in found if p.is_dir() and not p.is_symlink() and p.name.removeprefix(f".{out.name}.").removesuffix(f".{kind}").isdigit()]


@contextmanager
def draft_of(out: Path) -> Iterator[Path]:
    draft = out.parent / f".{out.name}.{os.getpid()}.tmp"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise Refused(f"no folder can be made at {out}: {error.strerror}", hint="name another place for --out", code=2) from error
    handle = locked(draft)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def export(options: Options, progress: Progress = lambda what, share: None) -> dict[str, object]:
    """Checks, then writes beside the place and moves. Returns what `--json` prints."""
    try:
        out = options.out.resolve()
        clear(out)
        check_place(options, out)
    except (OSError, RuntimeError) as error:  # a name too long, links in a circle, a folder that may not be listed
        raise Refused(f"--out cannot be used: {error}", hint="name another place for --out", code=2) from error
    progress("checking", 0.0)
    checked = check(options.model, options.target == "ai100", out.parent, options.programs_only)
    with draft_of(out) as draft:
        for name in COPIED[:3] if options.programs_only else COPIED:
            if (options.model / name).is_file():
                shutil.copyfile(options.model / name, draft / name)
        if not options.programs_only:
            write_tokenizer(options.model, draft)
        attention = write_programs(checked, options, draft, progress)
        progress("digests", 1.0)
        files = {p.name: digest(p) for p in sorted(draft.iterdir())}
        record: dict[str, object] = {
            "target": options.target, "model_type": checked.kind, "parameters": checked.parameters, "attention": attention,
            "unused_tensors": checked.unused, "files": files,
            "versions": {n: importlib.metadata.version(n) for n in ("transformers", "torch", "onnx", "safetensors", "numpy")}}
        (draft / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        place(draft, out)
    sizes = {name: (out / name).stat().st_size for name in files}
    return {"folder": str(out), **record, "bytes": sizes}


def place(draft: Path, out: Path) -> None:
    """The folder there was stands until the new one is whole, and comes back if the move fails."""
    for path in draft.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if not out.exists():
        draft.rename(out)
        return
    old = draft.with_suffix(".old")
    out.rename(old)
    try:
        draft.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)

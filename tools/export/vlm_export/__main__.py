"""The command line: python -m vlm_export MODEL --out DIR."""
from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from .errors import Refused

DESCRIPTION = """\
Turns a Hugging Face checkpoint into a model folder for vlm-run: vision.onnx, language.onnx, and the configuration,
tokenizer and processor files beside them. A model type that has no exporter is refused with the list of those that have."""
EXAMPLES = """\
examples:
  $ python -m vlm_export granite-vision-3.2-2b --out exported/granite
  $ vlm-run pipelines/granite-vision.yaml --set 'model={path: exported/granite}' --input image=page.png

  $ python -m vlm_export InternVL2_5-1B --out exported/internvl-card --target ai100 --json

exit codes: 0 done, 2 the command line is wrong, 3 the checkpoint is missing, unusable or not supported, 5 the export
failed, 130 interrupted. Nothing is left in --out unless all of it is; what a killed export leaves beside it, the next
one into the same place takes away."""
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


def size(text: str) -> int:
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS and text[-1:] else (text, "")
    try:
        value = int(float(number) * UNITS[unit])
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: write 500000, 64M or 1.5G") from None
    if value < 0:
        raise argparse.ArgumentTypeError("a size is not negative")
    return value


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="vlm_export", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path, metavar="MODEL", help="folder of the checkpoint: config.json, *.safetensors, tokenizer and processor files")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; it must not exist")
    p.add_argument("--target", choices=("cpu", "ai100"), default="cpu",
                   help="cpu: f32 weights, fused attention, calls of exact length; ai100: f16 weights and the card compiler's operators (default: cpu)")
    p.add_argument("--force", action="store_true", help="replace DIR if this tool wrote it")
    p.add_argument("--programs-only", action="store_true", help="leave out tokenizer and processor files, and do not ask for them")
    p.add_argument("--external-over", type=size, default=64_000_000, metavar="SIZE",
                   help="weights of more bytes than this go into files beside the graphs; at most 1.9G, a graph ends at 2 GB (default: 64M)")
    p.add_argument("--json", action="store_true", help="one JSON document on standard output")
    return p


class Reporter:
    """Lines on standard error, for work of more than a second."""

    def __init__(self) -> None:
        self.began = self.last = time.monotonic()

    def __call__(self, what: str, share: float) -> None:
        now = time.monotonic()
        if now - self.began > 1 and now - self.last > 1:
            self.last = now
            print(f"{what} {share:4.0%}  {now - self.began:.0f} s", file=sys.stderr, flush=True)


def fail(error: str, hint: str, code: int, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error, "hint": hint, "code": code}, ensure_ascii=False))
    print(f"vlm_export: {error}" + (f"\n  {hint}" if hint else ""), file=sys.stderr)
    return code


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    if args.external_over > 1_900_000_000:
        return fail("--external-over is at most 1.9G", "a graph with its weights inside ends at 2 GB", 2, args.json)
    try:
        from .folder import Options, export

        done = export(Options(args.model, args.out, args.target, args.force, args.programs_only, args.external_over), Reporter())
    except Refused as error:
        return fail(error.reason, error.hint, error.code, args.json)
    except KeyboardInterrupt:
        return fail("interrupted; nothing was written", "", 130, args.json)
    except ModuleNotFoundError as error:
        return fail(f"the Python package {error.name} is missing", "pip install -r tools/export/requirements.txt", 3, args.json)
    except MemoryError:
        return fail("there is not enough memory", "close other programs; the largest single tensor has to fit three times", 5, args.json)
    except OSError as error:
        return fail(f"a file could not be read or written: {error}", "look at the disk's space and permissions", 5, args.json)
    except Exception as error:  # noqa: BLE001  what the checks let through is a defect, and is reported as one
        return fail(f"the export failed: {type(error).__name__}: {error}", "this is a defect of the exporter: report it with the checkpoint's config.json", 5, args.json)
    if args.json:
        print(json.dumps(done, indent=2, ensure_ascii=False))
    else:
        width = max(len(name) for name in done["bytes"])
        print("\n".join([str(done["folder"]), *(f"  {name:{width}s}  {count / 1e6:10.2f} MB" for name, count in done["bytes"].items()),
                         f"attention: {done['attention']}"]))
    return 0


def stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # As Ctrl-C: the draft is taken away.
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main())

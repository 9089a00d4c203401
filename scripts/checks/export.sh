#!/usr/bin/env bash
# The exporter's own tests, on tiny random checkpoints made here, and the shipped model exported for both targets and run,
# where a Python has what they need. Without one it ends with 77, not tested: the programs committed under test/golden/,
# which the tests of test/ run, must then be there.
#   VLM_PYTHON=/path/to/python scripts/checks/export.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

# Checkpoints with random weights made anew, goldens of this Python's own transformers, exported as a user would, run by the
# tests that otherwise take the committed ones: 64 steps, batches, chunks, logits, the emulated card.
tiny_models() {
  local made=$scratch/made family name target job jobs
  [[ -d .build/test ]] || npx tsc -p tsconfig.json
  for family in internvl llava_next llama4; do
    name=${family/_/-}
    "$1" "tools/reference/${family}_tiny.py" --out "$made/$name" --checkpoint "$scratch/checkpoints/$name" >/dev/null 2>&1
  done
  # In one process: the packages take longer to load than tiny models to be exported.
  PYTHONPATH=tools/export "$1" - "$scratch" >"$scratch/run" 2>&1 <<'PYTHON' || { cat "$scratch/run"; exit 1; }
import sys
from vlm_export.__main__ import main

for target in ("cpu", "ai100"):
    for checkpoint, name in (("internvl/hf", "internvl"), ("internvl/chat", "internvl/chat"), ("llava-next", "llava-next"), ("llama4", "llama4")):
        if main([f"{sys.argv[1]}/checkpoints/{checkpoint}", "--out", f"{sys.argv[1]}/tiny-{target}/{name}", "--target", target]) != 0:
            sys.exit(1)
PYTHON
  for target in cpu ai100; do
    for name in internvl llava-next llama4; do cp "$made/$name/goldens.json" "$scratch/tiny-$target/$name/"; done
    cp "$made/llava-next/packed.onnx" "$scratch/tiny-$target/llava-next/"
    jobs=()
    for name in internvl granite llama4-whole-runs; do
      VLM_TEST_TINY_MODELS=$scratch/tiny-$target timeout 420 node ".build/test/$name.test.js" >"$scratch/run-$name" 2>&1 &
      jobs+=("$name:$!")
    done
    for job in "${jobs[@]}"; do
      name=${job%:*}
      wait "${job#*:}" || { cat "$scratch/run-$name"; exit 1; }
      echo "$name, exported for $target: $(grep -oE 'Passed: +[1-9][0-9]*' "$scratch/run-$name")"
    done
  done
}

with_python() {
  export OMP_NUM_THREADS=1 TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1
  scratch=$(mktemp -d)
  trap 'jobs -p | xargs -r kill 2>/dev/null; rm -rf "$scratch"' EXIT
  timeout 600 "$1" -m unittest discover -s tools/export/tests -t . 2>&1 | tee "$scratch/tests"
  # unittest is content with nothing, too.
  grep -qE '^Ran [1-9][0-9]* tests? in ' "$scratch/tests" || { echo 'no test of the exporter ran'; exit 1; }
  answer() { node bin/vlm-run.js pipelines/internvl.yaml --json "$@" 2>/dev/null | node -e '
    const run = JSON.parse(require("node:fs").readFileSync(0, "utf8")); process.stdout.write(run.items[0].outputs.answer.text)'; }
  wanted=$(answer)
  for target in cpu ai100; do
    PYTHONPATH=tools/export "$1" -m vlm_export models/shapes-internvl --out "$scratch/$target" --target "$target" --external-over 0 >/dev/null 2>&1
    [[ -s $scratch/$target/language.onnx.data ]] || { echo "$target: no weights beside the graph"; exit 1; }
    got=$(answer --set "model={path: $scratch/$target}")
    [[ -n $wanted && $got == "$wanted" ]] || { echo "$target: $got is not $wanted"; exit 1; }
    echo "$target: $got"
  done
  tiny_models "$1"
  exit 0
}

for python in "${VLM_PYTHON:-}" python3 python; do
  [[ -n $python ]] && command -v "$python" >/dev/null || continue
  if "$python" -c 'import torch, torchvision, transformers, onnx, onnxruntime, safetensors, PIL, jinja2' 2>/dev/null; then
    with_python "$python"
  fi
done
echo 'no Python with the packages of tools/export/requirements.txt (set VLM_PYTHON): the committed programs stand for them'
for folder in test/golden/internvl-tiny test/golden/llama4-tiny test/golden/llava-next/tiny models/shapes-internvl; do
  for file in config.json tokenizer.json vision.onnx language.onnx; do
    [[ -s $folder/$file ]] || { echo "missing: $folder/$file"; exit 1; }
  done
done
exit 77

#!/usr/bin/env bash
# The exporter's own tests, on tiny random checkpoints made here, and the shipped model exported for both targets and run,
# where a Python has what they need. Without one it ends with 77, not tested: the programs committed under test/golden/,
# which the tests of test/ run, must then be there.
#   VLM_PYTHON=/path/to/python scripts/checks/export.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

with_python() {
  export OMP_NUM_THREADS=1 TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  timeout 400 "$1" -m unittest discover -s tools/export/tests -t . 2>&1 | tee "$scratch/tests"
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
  exit 0
}

for python in "${VLM_PYTHON:-}" python3 python; do
  [[ -n $python ]] && command -v "$python" >/dev/null || continue
  if "$python" -c 'import torch, torchvision, transformers, onnx, onnxruntime, safetensors, PIL, jinja2' 2>/dev/null; then
    with_python "$python"
  fi
done
echo 'no Python with the packages of tools/export/requirements.txt (set VLM_PYTHON): the committed programs stand for them'
for folder in test/golden/llama4-tiny test/golden/llava-next/tiny models/shapes-internvl; do
  for file in config.json tokenizer.json vision.onnx language.onnx; do
    [[ -s $folder/$file ]] || { echo "missing: $folder/$file"; exit 1; }
  done
done
exit 77

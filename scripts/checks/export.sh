#!/usr/bin/env bash
# The exporter's own tests, on tiny random checkpoints made here, where a Python has what they need. Without one, the
# programs committed under test/golden/ stand for them: the tests of test/ have run those already.
#   VLM_PYTHON=/path/to/python scripts/checks/export.sh
set -euo pipefail
cd "$(dirname "$0")/../.."

for python in "${VLM_PYTHON:-}" python3 python; do
  [[ -n $python ]] && command -v "$python" >/dev/null || continue
  if "$python" -c 'import torch, torchvision, transformers, onnx, onnxruntime, safetensors, PIL, jinja2' 2>/dev/null; then
    OMP_NUM_THREADS=1 TRANSFORMERS_OFFLINE=1 HF_HUB_OFFLINE=1 exec timeout 80 "$python" -m unittest discover -s tools/export/tests -t .
  fi
done
echo 'no Python with the packages of tools/export/requirements.txt (set VLM_PYTHON): checking the committed programs instead'
for folder in test/golden/llama4-tiny test/golden/llava-next/tiny models/shapes-internvl; do
  for file in config.json tokenizer.json vision.onnx language.onnx; do
    [[ -s $folder/$file ]] || { echo "missing: $folder/$file"; exit 1; }
  done
done

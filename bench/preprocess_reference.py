"""The other side of bench/preprocess.ts: transformers' image processor, timed on request.

Reads lines `{"file": path, "backend": "pil" | "torchvision"}` and answers each with the milliseconds of one run
(decoding from bytes apart from the processor) and the digest of the uint8 tiles' float tensor.
"""

import hashlib
import io
import json
import sys
import time
import warnings

import numpy as np
import PIL
import torch
import torchvision
import transformers
from PIL import Image, ImageOps
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

warnings.simplefilter("ignore")
options = dict(
    size={"height": 448, "width": 448}, crop_to_patches=True, min_patches=1, max_patches=12,
    image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
)
processors = {"pil": GotOcr2ImageProcessorPil(**options), "torchvision": GotOcr2ImageProcessor(**options)}
print(json.dumps({
    "pillow": PIL.__version__, "torch": torch.__version__, "torchvision": torchvision.__version__,
    "transformers": transformers.__version__, "threads": torch.get_num_threads(),
}), flush=True)

for line in sys.stdin:
    request = json.loads(line)
    with open(request["file"], "rb") as file:
        data = file.read()
    start = time.perf_counter()
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    decoded = time.perf_counter()
    values = processors[request["backend"]](image, return_tensors="np")["pixel_values"]
    end = time.perf_counter()
    tensor = np.ascontiguousarray(np.asarray(values), dtype=np.float32)
    print(json.dumps({
        "decode": (decoded - start) * 1e3, "process": (end - decoded) * 1e3,
        "tiles": int(tensor.shape[0]), "sha256": hashlib.sha256(tensor.tobytes()).hexdigest(),
    }), flush=True)

"""Goldens of image preprocessing, made by the references alone: Pillow, torchvision and transformers.

    python tools/reference/images.py        # writes test/golden/images/

Needs pillow 12.3.0, torch 2.13.0, torchvision 0.28.0, transformers 5.17.0 (see `versions` in the output).
"""

import hashlib
import json
import platform
import warnings
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
import torchvision.transforms as T
import transformers
from PIL import Image, ImageOps
from torchvision.transforms.functional import InterpolationMode
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor, get_optimal_tiled_canvas
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

import images_sources

OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "images"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FILTERS = {"nearest": 0, "box": 4, "bilinear": 2, "hamming": 5, "bicubic": 3, "lanczos": 1}
FILTER_NAMES = {code: name for name, code in FILTERS.items()}
RESIZED = [(112, 112), (31, 77), (224, 45)]
# Shapes whose tiles are also made at the real model's tile size; the rest at that of the demonstration model.
FULL_SIZE = """px1.png thin-wide.png thin-tall.png portrait.jpg landscape.jpg square.png panorama.jpg panorama-tall.jpg
tile-448.jpg large.jpg grey.jpg rgba.png palette.png palette-trns.png exif-6.jpg cmyk.jpg grey-16bit.png rgb-16bit.png
icc-p3.png grey-alpha.png bilevel.png lossy-alpha.webp transparent.gif rgb.tif""".split()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- The published InternVL code (OpenGVLab): same calls in the same order.


def find_closest_aspect_ratio(aspect_ratio, target_ratios, width, height, image_size):
    best_ratio_diff = float("inf")
    best_ratio = (1, 1)
    area = width * height
    for ratio in target_ratios:
        ratio_diff = abs(aspect_ratio - ratio[0] / ratio[1])
        if ratio_diff < best_ratio_diff:
            best_ratio_diff = ratio_diff
            best_ratio = ratio
        elif ratio_diff == best_ratio_diff:
            if area > 0.5 * image_size * image_size * ratio[0] * ratio[1]:
                best_ratio = ratio
    return best_ratio


def target_ratios(min_num, max_num):
    ratios = set(
        (i, j)
        for n in range(min_num, max_num + 1)
        for i in range(1, n + 1)
        for j in range(1, n + 1)
        if i * j <= max_num and i * j >= min_num
    )
    return sorted(ratios, key=lambda x: x[0] * x[1])


def opengvlab_grid(width, height, min_num, max_num, image_size):
    return find_closest_aspect_ratio(width / height, target_ratios(min_num, max_num), width, height, image_size)


def opengvlab_tiles(image, min_num, max_num, image_size, use_thumbnail):
    columns, rows = opengvlab_grid(*image.size, min_num, max_num, image_size)
    resized = image.resize((image_size * columns, image_size * rows))
    tiles = []
    for i in range(columns * rows):
        x, y = (i % columns) * image_size, (i // columns) * image_size
        tiles.append(resized.crop((x, y, x + image_size, y + image_size)))
    if use_thumbnail and len(tiles) != 1:
        tiles.append(image.resize((image_size, image_size)))
    transform = T.Compose([
        T.Lambda(lambda img: img.convert("RGB") if img.mode != "RGB" else img),
        T.Resize((image_size, image_size), interpolation=InterpolationMode.BICUBIC),
        T.ToTensor(),
        T.Normalize(mean=MEAN, std=STD),
    ])
    return (columns, rows), torch.stack([transform(tile) for tile in tiles])


# --- transformers


def hf(cls, size, min_patches, max_patches):
    return cls(
        size={"height": size, "width": size}, crop_to_patches=True, min_patches=min_patches, max_patches=max_patches,
        image_mean=list(MEAN), image_std=list(STD), resample=3,
    )


def pixels(processor, image, **options):
    values = processor(image, return_tensors="np", **options)["pixel_values"]
    return np.ascontiguousarray(np.asarray(values))


def tile_goldens(image, size, low, high):
    grid, tensor = opengvlab_tiles(image, low, high, size, True)
    pil = pixels(hf(GotOcr2ImageProcessorPil, size, low, high), image)
    assert tensor.dtype == torch.float32 and pil.dtype == np.float32 and tuple(tensor.shape) == pil.shape
    columns, rows = get_optimal_tiled_canvas((image.height, image.width), (size, size), low, high)
    return {
        "size": size, "min": low, "max": high, "tiles": int(pil.shape[0]),
        "opengvlab": {"grid": list(grid), "sha256": sha(tensor.contiguous().numpy().tobytes())},
        "pil": {"grid": [columns, rows], "sha256": sha(pil.tobytes())},
    }


def torchvision_goldens(image, size, low, high, resample=3):
    """The torchvision backend in uint8 and in float32, and how far it is from the pil backend (in levels of 255)."""
    raw = {"do_rescale": False, "do_normalize": False, "resample": resample}
    pil = pixels(hf(GotOcr2ImageProcessorPil, size, low, high), image, **raw)
    own = pixels(hf(GotOcr2ImageProcessor, size, low, high), image, **raw)
    floats = pixels(hf(GotOcr2ImageProcessor, size, low, high), image, resample=resample)
    assert pil.dtype == own.dtype == np.uint8 and floats.dtype == np.float32
    apart = np.abs(own.astype(np.int16) - pil)
    return {
        "size": size, "min": low, "max": high, "tiles": int(own.shape[0]), "filter": FILTER_NAMES[resample],
        "uint8": sha(own.tobytes()), "float32": sha(floats.tobytes()),
        "fromPil": {str(level): int((apart == level).sum()) for level in range(1, int(apart.max()) + 1)},
    }


# --- Pictures and cases that both sides generate


class Lcg:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return self.state

    def between(self, low, high):
        return low + (self.next() >> 8) % (high - low + 1)


def lcg_image(width, height, seed):
    lcg = Lcg(seed)
    data = bytes(lcg.next() >> 24 for _ in range(width * height * 3))
    return Image.frombytes("RGB", (width, height), data)


def random_resizes(count):
    lcg, cases = Lcg(20260), []
    ranges = [(1, 40), (1, 150), (1, 4), (100, 400)]
    for n in range(count):
        width, height = (lcg.between(*ranges[lcg.between(0, 3)]) for _ in range(2))
        if width * height > 40_000:
            height = 1 + height % 60
        to = [lcg.between(*ranges[lcg.between(0, 3)]) for _ in range(2)]
        name = list(FILTERS)[n % len(FILTERS)]
        out = lcg_image(width, height, n + 1).resize(to, FILTERS[name])
        cases.append([width, height, *to, name, n + 1, sha(out.tobytes())])
    return cases


def grid_choices():
    """Grids for sizes at and around ties, for both references: one digest a range of tiles, so that all of them fit."""
    sizes = [(w, h) for w in range(1, 41) for h in range(1, 41)]
    sizes += [(w * 100, h * 100) for w in range(1, 21) for h in range(1, 21)]
    sizes += [(1920, 1080), (4032, 3024), (448, 448), (449, 448), (896, 448), (10000, 37), (37, 10000)]
    # Between two grids, with exactly half the pixels of the larger one: `>` and `>=` differ here alone.
    sizes += [(896, 1008), (1008, 896), (897, 1008), (1008, 897)]
    ranges = [(1, n) for n in range(1, 17)] + [(4, 4), (5, 5), (6, 7), (8, 8), (8, 9), (9, 9), (10, 11), (14, 15), (16, 17)]
    ranges += [(17, 19), (24, 25), (31, 33), (36, 39), (1, 40)]
    out = []
    for low, high in ranges:
        digests = {}
        for name, pick in (
            ("opengvlab", lambda w, h: opengvlab_grid(w, h, low, high, 448)),
            ("hf", lambda w, h: get_optimal_tiled_canvas((h, w), (448, 448), low, high)),
        ):
            digests[name] = sha(";".join("{}x{}".format(*pick(w, h)) for w, h in sizes).encode())
        out.append({"min": low, "max": high, **digests})
    return {"sizes": sizes, "tileSize": 448, "ranges": out}


def decode_golden(path):
    with Image.open(path) as image:
        mode = image.mode
        turned = ImageOps.exif_transpose(image).convert("RGB")
    with Image.open(path) as image:
        plain = image.convert("RGB")
    return turned, {
        "mode": mode, "size": list(turned.size), "rgb": sha(turned.tobytes()),
        "sizeWithoutExif": list(plain.size), "rgbWithoutExif": sha(plain.tobytes()),
    }


def main():
    warnings.simplefilter("ignore")
    files = images_sources.write(OUT / "sources")
    images = {}
    for name in files:
        image, golden = decode_golden(OUT / "sources" / name)
        golden["resized"] = {
            f"{f}:{w}x{h}": sha(image.resize((w, h), code).tobytes()) for f, code in FILTERS.items() for w, h in RESIZED
        }
        golden["tiles"] = [tile_goldens(image, 112, 1, 4)]
        golden["torchvision"] = [torchvision_goldens(image, 112, 1, 4)]
        if name in FULL_SIZE:
            golden["tiles"].append(tile_goldens(image, 448, 1, 12))
            golden["torchvision"].append(torchvision_goldens(image, 448, 1, 12))
            golden["torchvision"] += [torchvision_goldens(image, 42, 1, 12, code) for code in (2, 1)]
        images[name] = golden
    versions = {
        "python": platform.python_version(), "pillow": PIL.__version__, "numpy": np.__version__,
        "torch": torch.__version__, "torchvision": torchvision.__version__, "transformers": transformers.__version__,
    }
    write = lambda name, value: (OUT / name).write_text(json.dumps({"versions": versions, **value}, indent=1) + "\n")
    write("images.json", {"mean": MEAN, "std": STD, "images": images})
    (OUT / "resize.json").write_text(
        json.dumps({"versions": versions})[:-1] + ', "cases": [\n'
        + ",\n".join(json.dumps(case) for case in random_resizes(204)) + "\n]}\n"
    )
    grids = grid_choices()
    (OUT / "grids.json").write_text(
        json.dumps({"versions": versions, "tileSize": grids["tileSize"], "sizes": "see images.py"})[:-1]
        + ', "ranges": [\n' + ",\n".join(json.dumps(r) for r in grids["ranges"]) + "\n]}\n"
    )
    total = sum(p.stat().st_size for p in OUT.rglob("*") if p.is_file())
    print(f"{len(files)} images, {total / 1e6:.2f} MB in {OUT}")


if __name__ == "__main__":
    main()

"""Draws the small source images of the image goldens: every file format, colour type and shape that decoding must know.

Deterministic: run it again and the same bytes come out (with the same Pillow). Called by images.py.
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def scene(width: int, height: int, seed: int) -> np.ndarray:
    """A picture with soft gradients, hard edges and some noise: uint8 [height, width, 3]."""
    rng = np.random.Generator(np.random.PCG64(seed))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    u, v = x / max(width - 1, 1), y / max(height - 1, 1)
    base = np.stack([200 * u + 30, 180 * v + 40, 120 + 100 * np.sin(5 * u + 3 * v)], -1)
    for _ in range(6):
        cx, cy, r = rng.random(3) * [width, height, 0.35 * min(width, height) + 1]
        inside = (x - cx) ** 2 + (y - cy) ** 2 < r * r
        base[inside] = rng.integers(0, 256, 3)
    base += rng.normal(0, 4, base.shape)
    return np.clip(base, 0, 255).astype(np.uint8)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: list[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of raw (unfiltered) rows; `extra` chunks go before IDAT."""
    stride = len(rows) // height
    raw = b"".join(b"\0" + rows[y * stride : (y + 1) * stride] for y in range(height))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *extra]
    chunks += [(b"IDAT", zlib.compress(raw, 9)), (b"IEND", b"")]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def display_p3() -> bytes:
    """A Display P3 matrix profile (ICC v2, gamma 2.2)."""
    s15 = lambda v: struct.pack(">i", round(v * 65536))
    xyz = lambda *v: b"XYZ \0\0\0\0" + b"".join(map(s15, v))
    text = b"Display P3 like"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + b"\0" * (1 + 78),
        b"cprt": b"text\0\0\0\0CC0\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
    }
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        tags[name] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", at + len(body), b"\0\0\0\0", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28
    header += b"".join(map(s15, (0.9642, 1.0, 0.8249)))
    header += b"\0" * (128 - len(header))
    return header + struct.pack(">I", len(tags)) + table + body


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    return made.tobytes()


def save(array: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def without_segment(jpeg: bytes, marker: int) -> bytes:
    """The JPEG without its application segments of one kind."""
    at, out = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != marker:
            out += jpeg[at:end]
        at = end
    return out + jpeg[at:]


def with_xmp(jpeg: bytes, orientation: int) -> bytes:
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()
    segment = b"http://ns.adobe.com/xap/1.0/\0" + packet
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def gif(width: int, height: int, indices: np.ndarray, palette: bytes, transparent: int | None, box=None, local=False, depth=7) -> bytes:
    """A GIF whose only frame covers `box` of the screen (LZW written with clear codes only: 7-bit literals)."""
    left, top, w, h = box or (0, 0, width, height)
    bits = 7
    codes, clear, end = [], 1 << bits, (1 << bits) + 1
    for i, index in enumerate(indices.flatten().tolist()):
        if i % 100 == 0:
            codes.append(clear)
        codes.append(index)
    codes.append(end)
    value, filled, data = 0, 0, bytearray()
    for code in codes:
        value |= code << filled
        filled += bits + 1
        while filled >= 8:
            data.append(value & 255)
            value >>= 8
            filled -= 8
    data.append(value & 255)
    table = palette.ljust(3 << depth, b"\0")
    out = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x00 if local else 0xF0 | (depth - 1), 5, 0)
    if not local:
        out += table
    if transparent is not None:
        out += b"\x21\xf9\x04" + struct.pack("<BHB", 1, 0, transparent) + b"\0"
    out += b"," + struct.pack("<HHHHB", left, top, w, h, 0x80 | (depth - 1) if local else 0) + (table if local else b"") + bytes([bits])
    for i in range(0, len(data), 255):
        out += bytes([len(data[i : i + 255])]) + bytes(data[i : i + 255])
    return out + b"\0;"


def tiff16(array: np.ndarray) -> bytes:
    """An uncompressed big-endian TIFF of 16-bit RGB (Pillow reads such files but writes none)."""
    return tiff(array.astype(">u2"), 2)


SHORT, LONG = 3, 4


def tiff(array: np.ndarray, photometric: int, deflate: bool = False, **tags: int) -> bytes:
    """A TIFF of one strip, byte order and depth as the array has them; for what Pillow reads but does not write."""
    order = "<" if array.dtype.byteorder in "<|=" else ">"
    h, w = array.shape[:2]
    samples = 1 if array.ndim == 2 else array.shape[2]
    pixels = array.tobytes()
    if deflate:
        pixels = zlib.compress(pixels, 9)
    pixels += b"\0" * (len(pixels) % 2)
    depth = [8 * array.dtype.itemsize] * samples
    extra = {"planar": 284, "extra_samples": 338, "orientation": 274}
    entries = [(256, SHORT, [w]), (257, SHORT, [h]), (258, SHORT, depth), (259, SHORT, [8 if deflate else 1])]
    entries += [(262, SHORT, [photometric]), (273, LONG, [8]), (277, SHORT, [samples]), (278, SHORT, [h])]
    entries += [(279, LONG, [len(pixels)]), *((extra[name], SHORT, [value]) for name, value in tags.items())]
    directory, beyond = struct.pack(order + "H", len(entries)), b""
    at = 8 + len(pixels) + 2 + 12 * len(entries) + 4
    for tag, kind, values in sorted(entries):
        data = struct.pack(order + {SHORT: "H", LONG: "I"}[kind] * len(values), *values)
        directory += struct.pack(order + "HHI", tag, kind, len(values))
        directory += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", at + len(beyond))
        beyond += data if len(data) > 4 else b""
    start = struct.pack(order + "HI", 42, 8 + len(pixels))
    return (b"II" if order == "<" else b"MM") + start + pixels + directory + b"\0\0\0\0" + beyond


def sources() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    rgb = scene(72, 48, 1)
    h, w = rgb.shape[:2]
    grey = rgb[..., 1]
    alpha = np.clip(np.add.outer(np.arange(h) * 6, np.arange(w) * 4) - 60, 0, 255).astype(np.uint8)
    rgba = np.dstack([rgb, alpha])

    # Shapes
    files["px1.png"] = save(scene(1, 1, 2), "PNG")
    files["thin-wide.png"] = save(scene(97, 1, 3), "PNG")
    files["thin-tall.png"] = save(scene(1, 83, 4), "PNG")
    files["portrait.jpg"] = save(scene(150, 260, 5), "JPEG", quality=85)
    files["landscape.jpg"] = save(scene(333, 187, 6), "JPEG", quality=85)
    files["square.png"] = save(scene(64, 64, 7), "PNG")
    files["panorama.jpg"] = save(scene(500, 50, 8), "JPEG", quality=90)
    files["panorama-tall.jpg"] = save(scene(30, 360, 9), "JPEG", quality=90)
    files["tile-448.jpg"] = save(scene(448, 448, 10), "JPEG", quality=60)
    files["tile-112.png"] = save(scene(112, 112, 11), "PNG")
    files["large.jpg"] = save(scene(1400, 1050, 12), "JPEG", quality=40)

    # JPEG
    files["grey.jpg"] = save(grey, "JPEG")
    for name, sampling in (("444", 0), ("422", 1)):
        files[f"jpeg-{name}.jpg"] = save(rgb[:47, :71], "JPEG", subsampling=sampling)
    files["jpeg-420-odd.jpg"] = save(rgb[:47, :71], "JPEG", subsampling=2)
    files["jpeg-progressive.jpg"] = save(rgb, "JPEG", progressive=True)
    files["jpeg-rgb.jpg"] = save(rgb, "JPEG", keep_rgb=True)
    cmyk = Image.fromarray(np.dstack([255 - rgb, (alpha // 3)]), "CMYK")
    files["cmyk.jpg"] = save(cmyk, "JPEG", quality=90)
    files["cmyk-no-adobe.jpg"] = without_segment(files["cmyk.jpg"], 0xEE)
    files["ycck.jpg"] = files["cmyk.jpg"].replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2")
    for n in range(1, 9):
        files[f"exif-{n}.jpg"] = save(scene(45, 28, 13), "JPEG", quality=80, exif=exif(n))
    files["exif-xmp.jpg"] = with_xmp(files["jpeg-422.jpg"], 8)
    files["icc.jpg"] = save(rgb, "JPEG", icc_profile=display_p3())

    # PNG
    files["grey.png"] = save(grey, "PNG")
    files["grey-alpha.png"] = save(np.dstack([grey, alpha]), "PNG")
    files["rgba.png"] = save(rgba, "PNG")
    files["exif.png"] = save(rgb[:30, :20], "PNG", exif=exif(6))
    files["icc-p3.png"] = save(rgb, "PNG", icc_profile=display_p3())
    palette = Image.fromarray(rgb).quantize(60)
    files["palette.png"] = save(palette, "PNG")
    files["palette-trns.png"] = save(palette, "PNG", transparency=bytes(range(0, 240, 4)))
    files["palette-4bit.png"] = save(Image.fromarray(rgb).quantize(13), "PNG", bits=4)
    files["bilevel.png"] = save(Image.fromarray(grey > 128), "PNG")
    packed4 = ((grey[:, 0::2] >> 4) << 4) | (grey[:, 1::2] >> 4)
    files["grey-4bit.png"] = png(w, h, 4, 0, packed4.astype(np.uint8).tobytes())
    packed2 = sum((grey[:, i::4] >> 6) << (6 - 2 * i) for i in range(4))
    files["grey-2bit.png"] = png(w, h, 2, 0, packed2.astype(np.uint8).tobytes())
    files["grey-trns.png"] = png(w, h, 8, 0, grey.tobytes(), [(b"tRNS", struct.pack(">H", int(grey[3, 3])))])
    files["rgb-trns.png"] = png(w, h, 8, 2, rgb.tobytes(), [(b"tRNS", struct.pack(">3H", *map(int, rgb[3, 3])))])
    files["rgb-gamma.png"] = png(w, h, 8, 2, rgb.tobytes(), [(b"gAMA", struct.pack(">I", 100000))])
    low = (rgb.astype(np.uint16) * 7 + 13) & 0xFF
    rgb16 = ((rgb.astype(np.uint16) << 8) | low).astype(">u2")
    grey16 = (grey.astype(np.uint16) * 3 - 60).clip(0, 65535).astype(">u2")  # both sides of 255
    alpha16 = (alpha.astype(np.uint16) * 257).astype(">u2")
    files["grey-16bit.png"] = png(w, h, 16, 0, grey16.tobytes())
    files["grey-16bit-icc.png"] = png(w, h, 16, 0, rgb16[..., 1].tobytes(), [(b"gAMA", struct.pack(">I", 45455))])
    files["rgb-16bit.png"] = png(w, h, 16, 2, rgb16.tobytes())
    files["rgba-16bit.png"] = png(w, h, 16, 6, np.dstack([rgb16, alpha16]).astype(">u2").tobytes())
    files["grey-alpha-16bit.png"] = png(w, h, 16, 4, np.dstack([rgb16[..., 1], alpha16]).astype(">u2").tobytes())
    small = rgb[:26, :40].copy()
    orientation = exif(6)
    lines = b"\nexif\n%8d\n%s\n" % (len(orientation), orientation.hex().encode())
    keyword = b"Raw profile type exif\0"
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta><a tiff:Orientation="6"/></x:xmpmeta>'
    for name, chunk in (
        ("exif-text", (b"tEXt", keyword + lines)),
        ("exif-ztext", (b"zTXt", keyword + b"\0" + zlib.compress(lines))),
        ("exif-xmp", (b"iTXt", xmp)),
    ):
        files[f"{name}.png"] = png(40, 26, 8, 2, small.tobytes(), [chunk])
    still = [Image.fromarray(scene(24, 18, s)) for s in (16, 17, 18)]
    files["animated.png"] = save(still[0], "PNG", save_all=True, append_images=still[1:])
    files["animated-default.png"] = save(still[0], "PNG", save_all=True, append_images=still[1:], default_image=True)
    files["several.mpo"] = save(still[0], "MPO", save_all=True, append_images=still[1:])

    # WebP
    files["lossy.webp"] = save(rgb, "WEBP", quality=70)
    files["lossy-alpha.webp"] = save(rgba, "WEBP", quality=70, exact=True)
    files["lossless.webp"] = save(rgb, "WEBP", lossless=True)
    files["lossless-alpha.webp"] = save(rgba, "WEBP", lossless=True, exact=True)
    files["exif.webp"] = save(rgb[:30, :20], "WEBP", quality=80, exif=exif(6))
    frames = [Image.fromarray(scene(40, 30, s)) for s in (14, 15)]
    files["animated.webp"] = save(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=80)

    # GIF
    files["plain.gif"] = save(Image.fromarray(rgb).quantize(100), "GIF")
    files["grey.gif"] = save(grey, "GIF")
    files["interlaced.gif"] = save(Image.fromarray(rgb).quantize(100), "GIF", interlace=1)
    files["animated.gif"] = save(frames[0].quantize(50), "GIF", save_all=True, append_images=[f.quantize(50) for f in frames[1:]])
    indices = np.array(palette)
    colours = bytes(palette.getpalette())
    files["transparent.gif"] = gif(w, h, indices, colours, int(indices[3, 3]))
    part = indices[:20, :30]
    files["part.gif"] = gif(w, h, part, colours, None, (7, 5, 30, 20))
    files["part-transparent.gif"] = gif(w, h, part, colours, int(part[2, 2]), (7, 5, 30, 20))
    files["bilevel.gif"] = save(Image.fromarray(grey > 128), "GIF")
    files["local.gif"] = gif(w, h, indices, colours, None, None, True)
    # Indices that the palette does not define: black, unless the palette is nothing but greys.
    files["undefined-colours.gif"] = gif(w, h, indices, colours[:96], 120, None, False, 5)
    files["undefined-greys.gif"] = gif(w, h, indices, bytes(i // 3 for i in range(96)), None, None, False, 5)

    # TIFF
    files["rgb.tif"] = save(rgb, "TIFF", compression="tiff_lzw")
    files["raw.tif"] = save(rgb[:20, :20], "TIFF")
    files["rgba.tif"] = save(rgba, "TIFF", compression="tiff_adobe_deflate")
    files["grey.tif"] = save(grey, "TIFF", compression="tiff_lzw")
    files["grey-16bit.tif"] = save(Image.fromarray(grey16.astype("<u2")), "TIFF", compression="tiff_lzw")
    files["rgb-16bit.tif"] = tiff16(rgb16[:20, :20])
    files["grey-alpha.tif"] = save(np.dstack([grey, alpha]), "TIFF", compression="tiff_lzw")
    pages = [Image.fromarray(scene(24, 18, s)) for s in (16, 17)]
    files["several.tif"] = save(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    files["palette.tif"] = save(palette, "TIFF", compression="tiff_lzw")
    files["bilevel.tif"] = save(Image.fromarray(grey > 128), "TIFF", compression="group4")
    files["cmyk.tif"] = save(cmyk, "TIFF", compression="tiff_lzw")
    files["jpeg.tif"] = save(rgb, "TIFF", compression="jpeg")
    files["orientation.tif"] = save(rgb[:30, :20], "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6})
    small = grey[:20, :30]
    files["one-plane.tif"] = tiff(small, 1, True, planar=2)
    files["white-is-zero.tif"] = tiff(small, 0)
    files["white-is-zero-16bit.tif"] = tiff((small.astype(np.uint16) * 3).astype("<u2"), 0)
    clear = np.minimum(rgba[:20, :30], rgba[:20, :30, 3:])
    files["premultiplied.tif"] = tiff(clear, 2, extra_samples=1)
    files["premultiplied-16bit.tif"] = tiff((clear.astype(np.uint16) * 257 - clear // 3).astype("<u2"), 2, True, extra_samples=1)
    files["impossible-orientation.tif"] = tiff(rgb[:20, :30], 2, orientation=9)
    return files


def write(folder: Path) -> dict[str, bytes]:
    files = sources()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return files

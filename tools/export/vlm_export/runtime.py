"""Runs the two programs on ONNX Runtime: chunked prefill and greedy decode, for checks of an export."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort


@dataclass
class Generated:
    tokens: list[int] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)


class DualProgram:
    def __init__(self, folder: Path, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.vision = ort.InferenceSession(folder / "vision.onnx", options, providers=["CPUExecutionProvider"])
        self.language = ort.InferenceSession(folder / "language.onnx", options, providers=["CPUExecutionProvider"])
        shapes = {i.name: i.shape for i in self.language.get_inputs()}
        self.cache = {n: s for n, s in shapes.items() if n.startswith("past_")}
        self.hidden = int(shapes["vision_embeds"][2])

    def state(self, batch: int, ctx_len: int) -> dict[str, np.ndarray]:
        return {n: np.zeros((batch, s[1], ctx_len, s[3]), np.float32) for n, s in self.cache.items()}

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        return self.vision.run(["vision_embeds"], {"pixel_values": pixels})[0]

    def step(self, state: dict[str, np.ndarray], ids: np.ndarray, positions: np.ndarray, vision: np.ndarray, image_idx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        names = ["logits", "image_idx_output", *[f"{n}_RetainedState" for n in self.cache]]
        feeds = {"input_ids": ids, "position_ids": positions, "vision_embeds": vision, "image_idx": image_idx, **state}
        logits, image_idx, *caches = self.language.run(names, feeds)
        state.update(zip(self.cache, caches))
        return logits, image_idx

    def generate(self, ids: list[int], pixels: np.ndarray | None, eos: int, limit: int, chunk: int = 1 << 30, ctx_len: int = 1024, pad: bool = False) -> Generated:
        """Greedy tokens of one prompt. `pad` fills the last chunk with position -1, as on a card."""
        vision = self.encode(pixels) if pixels is not None else np.zeros((1, 1, self.hidden), np.float32)
        state, image_idx = self.state(1, ctx_len), np.zeros((1, 1), np.int64)
        logits = np.zeros(0)
        for start in range(0, len(ids), chunk):
            part = np.array([ids[start : start + chunk]], np.int64)
            positions = np.arange(start, start + part.shape[1], dtype=np.int64)[None]
            if pad and part.shape[1] < chunk:
                gap = ((0, 0), (0, chunk - part.shape[1]))
                part, positions = np.pad(part, gap), np.pad(positions, gap, constant_values=-1)
            logits, image_idx = self.step(state, part, positions, vision, image_idx)
        out = Generated()
        dummy = np.zeros((1, 1, self.hidden), np.float32)
        for position in range(len(ids), len(ids) + limit):
            token = int(logits[0, 0].argmax())
            out.tokens.append(token)
            out.logits.append(logits[0, 0])
            if token == eos:
                break
            logits, _ = self.step(state, np.array([[token]], np.int64), np.array([[position]], np.int64), dummy, np.zeros((1, 1), np.int64))
        return out

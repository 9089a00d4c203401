"""A model of InternVL-1B's widths and depth (24 x 1024 vision at 448 px, 24 x 896 text) with random weights and the demonstration
model's small vocabulary, whose tokenizer can be shipped: for `bench/overhead.ts --model`. About 2.7 GB in f32. The two programs are
written node by node, so that numpy and onnx are all it needs; what they compute is no model's answer, but as much work as one.

    python bench/overhead_model.py DIR
"""
from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHIPPED = Path(__file__).resolve().parent.parent / "models/shapes-internvl"
VISION = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096, "image_size": [448, 448]}
TEXT = {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864}
PATCH = 14
IMAGE_TOKENS = 256
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


class Graph:
    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.rng = np.random.default_rng(seed)

    def op(self, kind: str, *args: str, out: str | None = None, **attributes: object) -> str:
        result = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(args), [result], **attributes))
        return result

    def const(self, value: object, dtype: type = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def random(self, *shape: int, scale: float = 0.02) -> str:
        return self.const(self.rng.standard_normal(shape, np.float32) * np.float32(scale), np.float32)

    def input(self, name: str, kind: int, dims: Sequence[int | str]) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(dims)))
        return name

    def output(self, name: str, kind: int, dims: Sequence[int | str]) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, kind, list(dims)))

    def linear(self, x: str, wide: int, narrow: int, bias: bool = True) -> str:
        out = self.op("MatMul", x, self.random(wide, narrow))
        return self.op("Add", out, self.random(narrow)) if bias else out

    def layer_norm(self, x: str, width: int) -> str:
        ones, zeros = self.const(np.ones(width), np.float32), self.const(np.zeros(width), np.float32)
        return self.op("LayerNormalization", x, ones, zeros, axis=-1, epsilon=1e-6)

    def gelu(self, x: str) -> str:
        half = self.op("Mul", x, self.const(0.5, np.float32))
        erf = self.op("Erf", self.op("Div", x, self.const(2**0.5, np.float32)))
        return self.op("Mul", half, self.op("Add", erf, self.const(1, np.float32)))

    def save(self, path: Path) -> None:
        graph = helper.make_graph(self.nodes, "g", self.inputs, self.outputs, self.weights)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def vision_program() -> Graph:
    """pixel_values [tiles, 3, 448, 448] -> vision_embeds [1, tiles * 256, 896]."""
    g = Graph(11)
    width, heads, inner = VISION["hidden_size"], VISION["num_attention_heads"], VISION["intermediate_size"]
    side = VISION["image_size"][0]
    grid = side // PATCH
    pixels = g.input("pixel_values", FLOAT, ["num_tiles", 3, side, side])
    x = g.op("Conv", pixels, g.random(width, 3, PATCH, PATCH), g.random(width), strides=[PATCH, PATCH])
    x = g.op("Transpose", g.op("Reshape", x, g.const([0, width, grid * grid])), perm=[0, 2, 1])
    tiles = g.op("Shape", pixels, start=0, end=1)
    first = g.op("Expand", g.random(1, 1, width), g.op("Concat", tiles, g.const([1, width]), axis=0))
    x = g.op("Add", g.op("Concat", first, x, axis=1), g.random(1, grid * grid + 1, width))
    for _ in range(VISION["num_hidden_layers"]):
        normed = g.layer_norm(x, width)
        query, key, value = (g.op("Reshape", g.linear(normed, width, width), g.const([0, 0, heads, width // heads])) for _ in range(3))
        scores = g.op("MatMul", g.op("Transpose", query, perm=[0, 2, 1, 3]), g.op("Transpose", key, perm=[0, 2, 3, 1]))
        probs = g.op("Softmax", g.op("Mul", scores, g.const((width // heads) ** -0.5, np.float32)), axis=-1)
        mixed = g.op("MatMul", probs, g.op("Transpose", value, perm=[0, 2, 1, 3]))
        flat = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.const([0, 0, width]))
        x = g.op("Add", x, g.linear(flat, width, width))
        x = g.op("Add", x, g.linear(g.gelu(g.linear(g.layer_norm(x, width), width, inner)), inner, width))
    x = g.op("Slice", x, g.const([1]), g.const([grid * grid + 1]), g.const([1]))
    # Four patches make one token: [tiles, 16, 2, 16, 2, 1024] with the two small axes moved to the end.
    x = g.op("Transpose", g.op("Reshape", x, g.const([-1, grid // 2, 2, grid // 2, 2, width])), perm=[0, 1, 3, 2, 4, 5])
    x = g.layer_norm(g.op("Reshape", x, g.const([1, -1, 4 * width])), 4 * width)
    hidden = TEXT["hidden_size"]
    x = g.linear(g.gelu(g.linear(x, 4 * width, hidden)), hidden, hidden)
    g.op("Identity", x, out="vision_embeds")
    g.output("vision_embeds", FLOAT, [1, "vision_size", hidden])
    return g


class Language:
    """The calls of the dual-program contract: input_ids and position_ids [B, S], caches [B, 2, ctx_len, 64] renewed by position."""

    def __init__(self, text: dict[str, object], image_token: int) -> None:
        self.g = Graph(12)
        self.vocab, self.image_token = int(str(text["vocab_size"])), image_token
        self.width, self.heads = int(str(text["hidden_size"])), int(str(text["num_attention_heads"]))
        self.kv, self.inner = int(str(text["num_key_value_heads"])), int(str(text["intermediate_size"]))
        self.layers, self.slots = int(str(text["num_hidden_layers"])), int(str(text["max_position_embeddings"]))
        self.head = self.width // self.heads

    def build(self) -> Graph:
        g = self.g
        ids = g.input("input_ids", INT64, ["batch_size", "seq_len"])
        self.positions = g.input("position_ids", INT64, ["batch_size", "seq_len"])
        vision = g.input("vision_embeds", FLOAT, [1, "vision_size", self.width])
        image_idx = g.input("image_idx", INT64, [1, 1])
        g.op("Identity", vision, out="vision_embeds_RetainedState")
        embed = g.random(self.vocab, self.width, scale=0.5)
        x = self.merge(ids, vision, image_idx, embed)
        g.output("image_idx_output", INT64, [1, 1])
        g.output("vision_embeds_RetainedState", FLOAT, [1, "vision_size", self.width])
        self.prepare()
        for layer in range(self.layers):
            x = self.layer(x, layer)
        last = g.op("Unsqueeze", g.op("ArgMax", self.positions, axis=1, keepdims=1), g.const([2]))
        x = self.norm(g.op("GatherND", x, last, batch_dims=1))
        # Not the embedding's own: random layers would say the last token again and again.
        g.op("MatMul", x, g.random(self.width, self.vocab), out="logits")
        g.output("logits", FLOAT, ["batch_size", 1, self.vocab])
        return g

    def merge(self, ids: str, vision: str, image_idx: str, embed: str) -> str:
        g = self.g
        is_image = g.op("Equal", ids, g.const(self.image_token))
        ones = g.op("Cast", is_image, to=INT64)
        row = g.op("Add", g.op("Sub", g.op("CumSum", ones, g.const(1)), g.const(1)), image_idx)
        rows = g.op("Gather", g.op("Reshape", vision, g.const([-1, self.width])), g.op("Where", is_image, row, g.const(0)))
        used = g.op("ReduceMax", g.op("ReduceSum", ones, g.const([1]), keepdims=1), axes=[0], keepdims=1)
        g.op("Add", image_idx, used, out="image_idx_output")
        return g.op("Where", g.op("Unsqueeze", is_image, g.const([2])), rows, g.op("Gather", embed, ids))

    def prepare(self) -> None:
        """Angles, the mask and the places of the caches that are written, once for all layers."""
        g = self.g
        freq = 1e4 ** (-np.arange(0, self.head, 2, dtype=np.float64) / self.head)
        angles = np.arange(self.slots)[:, None] * freq[None]
        at = g.op("Max", self.positions, g.const(0))
        self.cos, self.sin = (
            g.op("Unsqueeze", g.op("Gather", g.const(table, np.float32), at), g.const([1])) for table in (np.cos(angles), np.sin(angles))
        )
        length = g.op("Squeeze", g.op("Shape", "past_key.0", start=2, end=3))
        slots = g.op("Reshape", g.op("Range", g.const(0), length, g.const(1)), g.const([1, 1, 1, 1, -1]))
        future = g.op("Greater", slots, g.op("Unsqueeze", self.positions, g.const([1, 2, 4])))
        self.mask = g.op("Where", future, g.const(-1e4, np.float32), g.const(0, np.float32))
        batch = g.op("Shape", self.positions, start=0, end=1)
        full = g.op("Concat", batch, g.const([self.kv]), g.op("Shape", self.positions, start=1, end=2), g.const([1]), axis=0)
        rows = g.op("Range", g.const(0), g.op("Squeeze", batch), g.const(1))
        parts = [
            g.op("Expand", g.op("Unsqueeze", rows, g.const([1, 2, 3])), full),
            g.op("Expand", g.const(np.arange(self.kv).reshape(1, -1, 1, 1)), full),
            g.op("Expand", g.op("Unsqueeze", self.positions, g.const([1, 3])), full),
        ]
        self.places = g.op("Concat", *parts, axis=3)

    def norm(self, x: str) -> str:
        g = self.g
        mean = g.op("ReduceMean", g.op("Mul", x, x), axes=[-1], keepdims=1)
        scale = g.op("Sqrt", g.op("Add", mean, g.const(1e-6, np.float32)))
        return g.op("Mul", g.op("Div", x, scale), g.const(np.ones(self.width), np.float32))

    def split(self, x: str, count: int) -> str:
        return self.g.op("Transpose", self.g.op("Reshape", x, self.g.const([0, 0, count, self.head])), perm=[0, 2, 1, 3])

    def rotate(self, x: str) -> str:
        g, half = self.g, self.head // 2
        first = g.op("Slice", x, g.const([0]), g.const([half]), g.const([3]))
        second = g.op("Slice", x, g.const([half]), g.const([self.head]), g.const([3]))
        turned = [g.op("Sub", g.op("Mul", first, self.cos), g.op("Mul", second, self.sin)),
                  g.op("Add", g.op("Mul", second, self.cos), g.op("Mul", first, self.sin))]
        return g.op("Concat", *turned, axis=3)

    def cache(self, update: str, name: str) -> str:
        """The renewed cache, with an axis of one for the queries that share a head."""
        g = self.g
        dims = ["batch_size", self.kv, "ctx_len", self.head]
        kept = g.op("ScatterND", g.input(name, FLOAT, dims), self.places, update, out=f"{name}_RetainedState")
        g.output(kept, FLOAT, dims)
        return g.op("Unsqueeze", kept, g.const([2]))

    def layer(self, x: str, layer: int) -> str:
        g = self.g
        normed = self.norm(x)
        query = self.rotate(self.split(g.linear(normed, self.width, self.width), self.heads))
        query = g.op("Reshape", query, g.const([0, self.kv, self.heads // self.kv, -1, self.head]))
        narrow = self.kv * self.head
        keys = self.cache(self.rotate(self.split(g.linear(normed, self.width, narrow), self.kv)), f"past_key.{layer}")
        values = self.cache(self.split(g.linear(normed, self.width, narrow), self.kv), f"past_value.{layer}")
        scores = g.op("MatMul", query, g.op("Transpose", keys, perm=[0, 1, 2, 4, 3]))
        scores = g.op("Add", g.op("Mul", scores, g.const(self.head**-0.5, np.float32)), self.mask)
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), values)
        mixed = g.op("Reshape", mixed, g.const([0, self.heads, -1, self.head]))
        flat = g.op("Reshape", g.op("Transpose", mixed, perm=[0, 2, 1, 3]), g.const([0, 0, self.width]))
        x = g.op("Add", x, g.linear(flat, self.width, self.width, bias=False))
        normed = self.norm(x)
        gate = g.linear(normed, self.width, self.inner, bias=False)
        up = g.linear(normed, self.width, self.inner, bias=False)
        hidden = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        return g.op("Add", x, g.linear(hidden, self.inner, self.width, bias=False))


def write(folder: Path, name: str, **values: object) -> dict[str, object]:
    data = json.loads((SHIPPED / name).read_text()) | values
    (folder / name).write_text(json.dumps(data, indent=2))
    return data


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((SHIPPED / "config.json").read_text())
    vision, text = config["vision_config"] | VISION, config["text_config"] | TEXT
    text.pop("layer_types")
    write(folder, "config.json", vision_config=vision, text_config=text, image_seq_length=IMAGE_TOKENS)
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(SHIPPED / name, folder / name)
    write(folder, "preprocessor_config.json", size={"height": 448, "width": 448}, max_patches=12)
    write(folder, "processor_config.json", image_seq_length=IMAGE_TOKENS)
    vision_program().save(folder / "vision.onnx")
    Language(text, config["image_token_id"]).build().save(folder / "language.onnx")


if __name__ == "__main__":
    main()

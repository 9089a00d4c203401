"""The retained-state half of the language contract: cache writes, padded positions, vision rows."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from .builder import OPSET, Builder

DOMAIN = "com.qualcomm.cloud"
INT32_MAX = 2**31 - 1  # an index out of range: a card drops such a write and reads anything there
MOST_POSITIONS = 1 << 21  # rows of a table of angles: a quarter of a gigabyte each of cos and sin where heads are of 64
MASKED = -1.0e4  # stays finite in f16 after adding any score


def ctx_scatter() -> onnx.FunctionProto:
    """CtxScatter(data [B,H,C,D], position_ids [B,S], updates [B,H,S,D]) -> data with the rows written.

    Shapes come from `updates` alone: nothing but ScatterND reads `data`, so a host may pass one buffer
    as the cache's input and output.
    """
    node = helper.make_node
    nodes = [
        node("Constant", [], ["zero"], value_int=0),
        node("Constant", [], ["one"], value_int=1),
        node("Constant", [], ["last"], value_ints=[-1]),
        node("Constant", [], ["axes_heads"], value_ints=[1, 3]),
        node("Constant", [], ["axes_batch"], value_ints=[1, 2, 3]),
        node("Constant", [], ["axes_head"], value_ints=[0, 2, 3]),
        node("Shape", ["updates"], ["lead"], start=0, end=3),
        node("Shape", ["updates"], ["batch_v"], start=0, end=1),
        node("Shape", ["updates"], ["heads_v"], start=1, end=2),
        node("Squeeze", ["batch_v"], ["batch"]),
        node("Squeeze", ["heads_v"], ["heads"]),
        node("Constant", [], ["unit"], value_ints=[1]),
        node("Concat", ["lead", "unit"], ["full"], axis=0),
        node("Range", ["zero", "batch", "one"], ["batch_range"]),
        node("Unsqueeze", ["batch_range", "axes_batch"], ["batch_4d"]),
        node("Expand", ["batch_4d", "full"], ["batch_idx"]),
        node("Range", ["zero", "heads", "one"], ["head_range"]),
        node("Unsqueeze", ["head_range", "axes_head"], ["head_4d"]),
        node("Expand", ["head_4d", "full"], ["head_idx"]),
        node("Unsqueeze", ["position_ids", "axes_heads"], ["pos_4d"]),
        node("Expand", ["pos_4d", "full"], ["pos_idx"]),
        node("Concat", ["batch_idx", "head_idx", "pos_idx"], ["indices"], axis=3),
        node("ScatterND", ["data", "indices", "updates"], ["output"]),
    ]
    nodes = [n for n in nodes if list(n.output) != ["last"]]
    return helper.make_function(
        DOMAIN, "CtxScatter", ["data", "position_ids", "updates"], ["output"], nodes, [helper.make_opsetid("", OPSET)])


def ctx_gather() -> onnx.FunctionProto:
    """CtxGather(data [B,H,C,D], ctx_indices [B,1,C]) -> data at those slots."""
    node = helper.make_node
    nodes = [
        node("Constant", [], ["last"], value_ints=[-1]),
        node("Shape", ["data"], ["lead"], start=0, end=2),
        node("Shape", ["ctx_indices"], ["slots"], start=2, end=3),
        node("Concat", ["lead", "slots"], ["full"], axis=0),
        node("Expand", ["ctx_indices", "full"], ["flat"]),
        node("Unsqueeze", ["flat", "last"], ["indices"]),
        node("GatherND", ["data", "indices"], ["output"], batch_dims=2),
    ]
    return helper.make_function(DOMAIN, "CtxGather", ["data", "ctx_indices"], ["output"], nodes, [helper.make_opsetid("", OPSET)])


def custom_rms_norm() -> onnx.FunctionProto:
    """CustomRMSNorm(hidden_states, weight; epsilon). The compiler has its own, whose squares do not overflow f16."""
    node = helper.make_node
    epsilon = node("Constant", [], ["epsilon"])
    epsilon.attribute.append(onnx.AttributeProto(name="value_float", ref_attr_name="epsilon", type=onnx.AttributeProto.FLOAT))
    nodes = [
        epsilon,
        node("Mul", ["hidden_states", "hidden_states"], ["squares"]),
        node("ReduceMean", ["squares"], ["mean"], axes=[-1], keepdims=1),
        node("Add", ["mean", "epsilon"], ["shifted"]),
        node("Sqrt", ["shifted"], ["root"]),
        node("Div", ["hidden_states", "root"], ["unit"]),
        node("Mul", ["unit", "weight"], ["output"]),
    ]
    return helper.make_function("com.qti.aisw.onnx", "CustomRMSNorm", ["hidden_states", "weight"], ["output"], nodes,
                                [helper.make_opsetid("", OPSET)], attributes=["epsilon"])


@dataclass(frozen=True)
class Chunk:
    """What the layers need to know of one chunk of tokens."""

    embeds: str  # [B, S, H]; padded rows repeat the row of the largest position
    positions: str  # [B, S], never -1 unless the whole row is padding
    last: str  # [B, 1] index of the largest position in each row


def read_chunk(b: Builder, embed: str, image_token: int, hidden: int, vision_rank: int = 3) -> Chunk:
    """Inputs of the language program up to the merged embeddings, and the vision half of its outputs.

    vision_embeds is [1, T, H], or [T, H] where `vision_rank` is 2.
    """
    ids = b.input("input_ids", TensorProto.INT64, ["batch_size", "seq_len"])
    positions = b.input("position_ids", TensorProto.INT64, ["batch_size", "seq_len"])
    vision_dims = [1, "vision_size", hidden][3 - vision_rank :]
    vision = b.input("vision_embeds", TensorProto.FLOAT, vision_dims)
    image_idx = b.input("image_idx", TensorProto.INT64, [1, 1])

    valid = b.op("GreaterOrEqual", positions, b.const(0))
    is_image = b.op("And", b.op("Equal", ids, b.const(image_token)), valid)
    ones = b.op("Cast", is_image, to=TensorProto.INT64)
    counted = b.op("CumSum", ones, b.const(1))
    row = b.op("Add", b.op("Sub", counted, b.const(1)), image_idx)
    last_row = b.op("Squeeze", b.op("Sub", b.dim(vision, vision_rank - 2), b.const([1])), b.const([0]))
    row = b.op("Min", b.op("Max", row, b.const(0)), last_row)
    rows = b.op("Gather", vision if vision_rank == 2 else b.op("Squeeze", vision, b.const([0])), row, axis=0)
    text = b.op("Gather", embed, ids, axis=0)
    merged = b.op("Where", b.op("Unsqueeze", is_image, b.const([2])), rows, text)

    used = b.op("ReduceMax", b.op("ReduceSum", ones, b.const([1]), keepdims=1), axes=[0], keepdims=1)
    b.output(b.op("Add", image_idx, used), "image_idx_output", TensorProto.INT64, [1, 1])
    b.output(vision, "vision_embeds_RetainedState", TensorProto.FLOAT, vision_dims)

    if b.target.exact or b.target.card:
        return Chunk(merged, positions, b.op("ArgMax", positions, axis=1, keepdims=1))
    # A padded row becomes a copy of the row with the largest position: it writes the same cache slot
    # with the same values, so the scatter has no conflicting writes and the cache is left untouched.
    last = b.op("ArgMax", positions, axis=1, keepdims=1)
    steps = b.op("Sub", b.op("CumSum", b.op("Add", b.op("Mul", positions, b.const(0)), b.const(1)), b.const(1)), b.const(1))
    source = b.op("Where", valid, steps, last)
    effective = b.op("GatherElements", positions, source, axis=1)
    embeds = b.op("GatherND", merged, b.op("Unsqueeze", source, b.const([2])), batch_dims=1)
    return Chunk(embeds, effective, last)


def causal_mask(b: Builder, positions: str, ctx_len: str) -> str:
    """[B, 1, S, C] true where the cache slot lies in the future of the query."""
    slots = b.op("Range", b.const(0), b.op("Squeeze", ctx_len, b.const([0])), b.const(1))
    return b.op("Greater", b.op("Reshape", slots, b.const([1, 1, 1, -1])), b.op("Unsqueeze", positions, b.const([1, 3])))


def rope_tables(b: Builder, positions: str, head_dim: int, theta: float, limit: int) -> tuple[str, str]:
    """cos and sin [B, 1, S, head_dim/2] from f32 tables: angles would lose precision in f16."""
    clipped = b.op("Max", positions, b.const(0))
    cos, sin = (b.op("Unsqueeze", b.op("Gather", t, clipped, axis=0), b.const([1])) for t in angle_tables(b, head_dim, theta, limit))
    return cos, sin


def rotate(b: Builder, x: str, cos: str, sin: str) -> str:
    """Rotary embedding over two halves of the last axis."""
    half = b.fresh("half")
    other = b.fresh("half")
    b.nodes.append(helper.make_node("Split", [x], [half, other], axis=3, name=f"Split/{half}"))
    first = b.op("Sub", b.op("Mul", half, cos), b.op("Mul", other, sin))
    second = b.op("Add", b.op("Mul", other, cos), b.op("Mul", half, sin))
    return b.op("Concat", first, second, axis=3)


def cache_layer(b: Builder, layer: int, keys: str, values: str, positions: str, heads: int, head_dim: int) -> tuple[str, str]:
    """Writes one layer's keys and values [B, kv, S, D]; returns the whole caches [B, kv, C, D]."""
    out = []
    for kind, update in (("key", keys), ("value", values)):
        dims = ["batch_size", heads, "ctx_len", head_dim]
        past = b.input(f"past_{kind}.{layer}", TensorProto.FLOAT, dims)
        at = b.op("Where", b.op("Less", positions, b.const(0)), b.const(INT32_MAX), positions) if b.target.card else positions
        kept = b.call(ctx_scatter(), past, at, update, out=f"past_{kind}.{layer}_RetainedState")
        b.output(kept, kept, TensorProto.FLOAT, dims)
        out.append(read_slots(b, kept, positions, zeros=kind == "value") if b.target.card else kept)
    return out[0], out[1]


def read_slots(b: Builder, kept: str, positions: str, zeros: bool) -> str:
    """The cache [B, kv, C, D] with slots behind a row's largest position named out of range, so that a card skips them.

    What it gives for them may be anything: scores there are replaced by the mask, but values are multiplied by a weight of
    nought, which does not undo NaN, so they are set to zero.
    """
    if b.slots is None:
        slots = b.op("Range", b.const(0), b.op("Squeeze", b.dim(kept, 2), b.const([0])), b.const(1))
        slots = b.op("Reshape", slots, b.const([1, 1, -1]))
        furthest = b.op("Unsqueeze", b.op("ReduceMax", positions, axes=[1], keepdims=1), b.const([2]))
        unused = b.op("Greater", slots, furthest)
        b.slots = b.op("Where", unused, b.const(INT32_MAX), slots), b.op("Unsqueeze", unused, b.const([3]))
    rows = b.call(ctx_gather(), kept, b.slots[0])
    return b.op("Where", b.slots[1], b.scalar(0.0), rows) if zeros else rows


def fused_attention(b: Builder, layer: int, query: str, keys: str, values: str, chunk: Chunk, tables: tuple[str, str], heads: int, kv: int, dim: int, scale: float) -> str:
    """ONNX Runtime's own operator: rotary embedding, cache write and attention over the slots in use; [B, S, heads*D].

    query, keys and values are [B, S, count*D] before the rotation. The operator counts a row's slots from its largest
    position, so positions must go on without a gap: exact calls alone, no padded ones.
    """
    dims: list[int | str] = ["batch_size", kv, "ctx_len", dim]
    past = [b.input(f"past_{kind}.{layer}", TensorProto.FLOAT, dims) for kind in ("key", "value")]
    kept = [f"{name}_RetainedState" for name in past]
    out = b.fresh("attention")
    b.nodes.append(helper.make_node(
        "GroupQueryAttention", [query, keys, values, *past, *fused_lengths(b, chunk.positions), *tables], [out, *kept], name=f"Attention/{layer}",
        domain="com.microsoft", num_heads=heads, kv_num_heads=kv, scale=float(scale), do_rotary=1, rotary_interleaved=0))
    for name in kept:
        b.output(name, name, TensorProto.FLOAT, dims)
    return out


def fused_lengths(b: Builder, positions: str) -> tuple[str, str]:
    """Index of each row's newest slot [B] and the most slots of any row (a scalar), int32. Made once a graph."""
    if b.lengths is None:
        newest = b.op("ReduceMax", positions, axes=[1], keepdims=0)
        most = b.op("Add", b.op("ReduceMax", newest, keepdims=0), b.const(1))
        b.lengths = (b.op("Cast", newest, to=TensorProto.INT32), b.op("Cast", most, to=TensorProto.INT32))
    return b.lengths


def angle_tables(b: Builder, head_dim: int, theta: float, limit: int) -> tuple[str, str]:
    """cos and sin [limit, head_dim/2] as initializers."""
    freq = 1.0 / (theta ** (np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)))
    angles = np.arange(limit, dtype=np.float32)[:, None] * freq.astype(np.float32)[None]
    return b.weight("rope.cos", np.cos(angles), half=False), b.weight("rope.sin", np.sin(angles), half=False)


def tied_logits(b: Builder, final: str, embed: str, vocab: int) -> str:
    """final [B, 1, H] against the embedding table as it lies: a transposed one would be a second copy of it."""
    hidden = b.op("Squeeze", final, b.const([1]))
    node = b.op("Gemm", hidden, embed, transB=1)
    return b.op("Reshape", node, b.const([-1, 1, vocab]))

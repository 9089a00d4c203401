"""The Llama 4 decoder as a language program: layers with and without rotary embedding, chunked attention, experts."""
from __future__ import annotations

from dataclasses import dataclass
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder
from .cache import MASKED, cache_layer, read_chunk, rotate
from .qwen2 import rms_norm, silu

Weights = Mapping[str, np.ndarray]
ROPE_TYPES = ("default", "llama3")
ROPE_STEP = 1024  # positions of a static program are looked up as steps of this many and the rest


def halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection with each head's even rows first.

    The reference turns neighbouring pairs, `rotate` turns pairs of half a head apart. Scores and norms do not depend on the
    order within a head as long as queries and keys share it.
    """
    dim = weight.shape[0] // heads
    order = np.concatenate([np.arange(0, dim, 2), np.arange(1, dim, 2)])
    return weight.reshape(heads, dim, -1)[:, order].reshape(weight.shape)


def inverse_frequencies(text: Any) -> tuple[np.ndarray, float]:
    """[D/2] and the factor on cos and sin, as the reference computes them for its rope_type."""
    from transformers.models.llama4.modeling_llama4 import Llama4TextRotaryEmbedding

    rope = Llama4TextRotaryEmbedding(text)
    return rope.inv_freq.float().numpy(), float(rope.attention_scaling)


def rope_of(b: Builder, positions: str, text: Any, static: bool) -> tuple[str, str]:
    """cos and sin [B, 1, S, D/2].

    On the CPU the angle is the reference's own f32 product. A card computes in f16, which does not hold angles, and a table of
    every position would be gigabytes for the context that Scout allows: there two short tables are combined by the sum formulas.
    """
    freq, scaling = inverse_frequencies(text)
    clipped = b.op("Max", positions, b.const(0))
    if not static:
        angles = b.op("Mul", b.op("Unsqueeze", b.op("Cast", clipped, to=TensorProto.FLOAT), b.const([1, 3])), b.weight("rope.freq", freq, half=False))
        cos, sin = b.op("Cos", angles), b.op("Sin", angles)
    else:
        steps = -(-text.max_position_embeddings // ROPE_STEP)
        high = b.op("Div", clipped, b.const(ROPE_STEP))
        low = b.op("Sub", clipped, b.op("Mul", high, b.const(ROPE_STEP)))
        def looked_up(name: str, rows: int, stride: int, index: str) -> list[str]:
            angles = (np.arange(rows, dtype=np.float64) * stride)[:, None] * freq.astype(np.float64)
            return [b.op("Unsqueeze", b.op("Gather", b.weight(f"rope.{name}.{part}", table(angles), half=False), index, axis=0), b.const([1]))
                    for part, table in (("cos", np.cos), ("sin", np.sin))]
        (ch, sh), (cl, sl) = looked_up("high", steps, ROPE_STEP, high), looked_up("low", ROPE_STEP, 1, low)
        cos = b.op("Sub", b.op("Mul", ch, cl), b.op("Mul", sh, sl))
        sin = b.op("Add", b.op("Mul", sh, cl), b.op("Mul", ch, sl))
    if scaling != 1.0:
        cos, sin = (b.op("Mul", x, b.scalar(scaling)) for x in (cos, sin))
    return cos, sin


@dataclass
class Shared:
    """What the layers of one program share; masks need the length of the cache and are made by the first layer."""

    positions: str
    rope: tuple[str, str]
    temperature: str | None
    masks: dict[str, str]


def temperature_of(b: Builder, positions: str, text: Any) -> str | None:
    """[B, 1, S, 1] factor on the queries of layers without rope. Whole-number division: f16 does not hold positions."""
    if not text.attn_temperature_tuning:
        return None
    floor = b.op("Div", b.op("Add", b.op("Max", positions, b.const(0)), b.const(1)), b.const(int(text.floor_scale)))
    grown = b.op("Log", b.op("Add", b.op("Cast", floor, to=TensorProto.FLOAT), b.scalar(1.0)))
    return b.op("Unsqueeze", b.op("Add", b.op("Mul", grown, b.scalar(text.attn_scale)), b.scalar(1.0)), b.const([1, 3]))


def masks_of(b: Builder, positions: str, ctx_len: str, text: Any) -> dict[str, str]:
    """[B, 1, 1, S, C] true where a query must not look: the future, and in chunked layers whatever lies before its chunk."""
    slots = b.op("Range", b.const(0), b.op("Squeeze", ctx_len, b.const([0])), b.const(1))
    slots = b.op("Reshape", slots, b.const([1, 1, 1, 1, -1]))
    size = b.const(int(text.attention_chunk_size))
    future = b.op("Greater", slots, b.op("Unsqueeze", positions, b.const([1, 2, 4])))
    begin = b.op("Unsqueeze", b.op("Mul", b.op("Div", positions, size), size), b.const([1, 2, 4]))
    return {"full_attention": future, "chunked_attention": b.op("Or", future, b.op("Less", slots, begin))}


def _unit(b: Builder, x: str, eps: float) -> str:
    mean = b.op("ReduceMean", b.op("Mul", x, x), axes=[-1], keepdims=1)
    return b.op("Div", x, b.op("Sqrt", b.op("Add", mean, b.scalar(eps))))


def _attention(b: Builder, x: str, p: str, w: Weights, text: Any, layer: int, shared: Shared) -> str:
    heads, kv, dim = text.num_attention_heads, text.num_key_value_heads, text.head_dim
    turned = bool(text.no_rope_layers[layer])  # 1 means rope, whatever the name says
    def linear(x: str, part: str, order: int = 0) -> str:
        name = f"{p}self_attn.{part}_proj"
        weight, bias = w[f"{name}.weight"], w.get(f"{name}.bias")
        if order:
            weight, bias = halves(weight, order), None if bias is None else halves(bias, order)
        return b.linear(x, name, weight, bias)
    def project(part: str, count: int, order: int = 0) -> str:
        return b.op("Transpose", b.reshape(linear(x, part, order), [0, 0, count, dim]), perm=[0, 2, 1, 3])
    query, keys, values = project("q", heads, heads * turned), project("k", kv, kv * turned), project("v", kv)
    if turned:
        query, keys = rotate(b, query, *shared.rope), rotate(b, keys, *shared.rope)
        if text.use_qk_norm:
            query, keys = _unit(b, query, text.rms_norm_eps), _unit(b, keys, text.rms_norm_eps)
    elif shared.temperature is not None:
        query = b.op("Mul", query, shared.temperature)
    keys, values = cache_layer(b, layer, keys, values, shared.positions, kv, dim)
    if not shared.masks:
        shared.masks = masks_of(b, shared.positions, b.dim(keys, 2), text)
    # Grouped queries: [B, kv, group, S, D] against [B, kv, 1, C, D].
    grouped = b.op("Reshape", query, b.op("Concat", b.const([0, kv, heads // kv]), b.dim(query, 2), b.const([dim]), axis=0))
    scores = b.op("MatMul", b.op("Mul", grouped, b.scalar(dim ** -0.5)), b.op("Transpose", b.op("Unsqueeze", keys, b.const([2])), perm=[0, 1, 2, 4, 3]))
    weights = b.op("Softmax", b.op("Where", shared.masks[text.layer_types[layer]], b.scalar(MASKED), scores), axis=-1)
    mixed = b.op("MatMul", weights, b.op("Unsqueeze", values, b.const([2])))
    joined = b.op("Reshape", mixed, b.op("Concat", b.const([0, heads]), b.dim(mixed, 3), b.const([dim]), axis=0))
    return linear(b.reshape(b.op("Transpose", joined, perm=[0, 2, 1, 3]), [0, 0, heads * dim]), "o")


def _mlp(b: Builder, x: str, p: str, w: Weights) -> str:
    gate, up = (b.linear(x, f"{p}{part}_proj", w[f"{p}{part}_proj.weight"]) for part in ("gate", "up"))
    return b.linear(b.op("Mul", silu(b, gate), up), f"{p}down_proj", w[f"{p}down_proj.weight"])


def _expert(b: Builder, x: str, gate_up: str, down: str) -> str:
    gate, up = b.fresh("gate"), b.fresh("up")
    b.nodes.append(onnx.helper.make_node("Split", [b.op("MatMul", x, gate_up)], [gate, up], axis=-1, name=f"Split/{gate}"))
    return b.op("MatMul", b.op("Mul", up, silu(b, gate)), down)


def _scores(b: Builder, x: str, p: str, w: Weights, text: Any) -> str:
    """x [N, H] -> [N, E]: the sigmoid of the k largest router logits, 0 elsewhere."""
    best, index = b.fresh("best"), b.fresh("index")
    logits = b.linear(x, f"{p}router", w[f"{p}router.weight"])
    b.nodes.append(onnx.helper.make_node("TopK", [logits, b.const([text.num_experts_per_tok])], [best, index], axis=1, name=f"TopK/{best}"))
    chosen = b.op("Equal", b.op("Unsqueeze", index, b.const([2])), b.const(np.arange(text.num_local_experts).reshape(1, 1, -1)))
    spread = b.op("Mul", b.op("Cast", chosen, to=TensorProto.FLOAT), b.op("Unsqueeze", b.op("Sigmoid", best), b.const([2])))
    return b.op("ReduceSum", spread, b.const([1]), keepdims=0)


def _experts(b: Builder, x: str, p: str, w: Weights, text: Any, static: bool) -> str:
    """x [B, S, H] -> [B, S, H]: the shared expert and the chosen ones, whose *input* is scaled by the router.

    Routed, an expert computes only the tokens that chose it, and its weights are not read when none did. Static, as a card's
    compiler needs shapes, every expert computes every token, and those of no concern come out as zero.
    """
    count, hidden = text.num_local_experts, text.hidden_size
    flat = b.op("Reshape", x, b.const([-1, hidden]))
    scores = _scores(b, flat, p, w, text)
    gate_up, down = w[f"{p}experts.gate_up_proj"], w[f"{p}experts.down_proj"]
    out = _mlp(b, flat, f"{p}shared_expert.", w)
    if static:
        column = b.op("Unsqueeze", b.op("Transpose", scores, perm=[1, 0]), b.const([2]))
        scaled = b.op("Mul", b.op("Unsqueeze", flat, b.const([0])), column)
        each = _expert(b, scaled, b.weight(f"{p}experts.gate_up_proj", gate_up), b.weight(f"{p}experts.down_proj", down))
        out = b.op("Add", out, b.op("ReduceSum", each, b.const([0]), keepdims=0))
    else:
        for n in range(count):
            score = b.op("Gather", scores, b.const([n]), axis=1)
            # A chosen expert whose score came out 0 would get an input of 0 and give 0.
            rows = b.op("Transpose", b.op("NonZero", b.op("Squeeze", score, b.const([1]))), perm=[1, 0])
            scaled = b.op("Mul", b.op("GatherND", flat, rows), b.op("GatherND", score, rows))
            each = _expert(b, scaled, b.weight(f"{p}experts.{n}.gate_up_proj", gate_up[n]), b.weight(f"{p}experts.{n}.down_proj", down[n]))
            out = b.op("ScatterND", out, rows, each, reduction="add")
    return b.op("Reshape", out, b.op("Shape", x))


def language_program(text: Any, w: Weights, image_token: int, lm_head: np.ndarray | None = None, static: bool = False) -> onnx.ModelProto:
    """input_ids, position_ids, vision_embeds [T, H], image_idx, past_* -> logits [B, 1, V], retained state; no lm_head means tied.

    `static`: no shape depends on values and no angle is computed from a position, for compilers and f16.
    """
    b = Builder("language")
    embed = b.weight("embed_tokens.weight", w["embed_tokens.weight"])
    chunk = read_chunk(b, embed, image_token, text.hidden_size, vision_rank=2)
    x = chunk.embeds
    shared = Shared(chunk.positions, rope_of(b, chunk.positions, text, static), temperature_of(b, chunk.positions, text), {})
    for layer in range(text.num_hidden_layers):
        p = f"layers.{layer}."
        normed = rms_norm(b, x, f"{p}input_layernorm.weight", w[f"{p}input_layernorm.weight"], text.rms_norm_eps)
        x = b.op("Add", x, _attention(b, normed, p, w, text, layer, shared))
        normed = rms_norm(b, x, f"{p}post_attention_layernorm.weight", w[f"{p}post_attention_layernorm.weight"], text.rms_norm_eps)
        p += "feed_forward."
        x = b.op("Add", x, _experts(b, normed, p, w, text, static) if layer in text.moe_layers else _mlp(b, normed, p, w))
    final = b.op("GatherND", x, b.op("Unsqueeze", chunk.last, b.const([2])), batch_dims=1)
    final = rms_norm(b, final, "norm.weight", w["norm.weight"], text.rms_norm_eps)
    head = b.op("Transpose", embed, perm=[1, 0]) if lm_head is None else b.weight("lm_head.weight", lm_head.T)
    b.output(b.op("MatMul", final, head, out="logits"), "logits", TensorProto.FLOAT, ["batch_size", 1, text.vocab_size])
    return b.model()

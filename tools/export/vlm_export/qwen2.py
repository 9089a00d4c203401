"""The Qwen2 decoder as a language program of the dual-program contract."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder
from .cache import MASKED, Chunk, angle_tables, cache_layer, causal_mask, custom_rms_norm, fused_attention, read_chunk, rope_tables, rotate, tied_logits

Weights = Mapping[str, np.ndarray]


def rms_norm(b: Builder, x: str, name: str, weight: np.ndarray, eps: float) -> str:
    if b.target.card:
        return b.call(custom_rms_norm(), x, b.weight(name, weight), epsilon=float(eps))
    mean = b.op("ReduceMean", b.op("Mul", x, x), axes=[-1], keepdims=1)
    scaled = b.op("Div", x, b.op("Sqrt", b.op("Add", mean, b.scalar(eps))))
    return b.op("Mul", scaled, b.weight(name, weight))


def silu(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("Sigmoid", x))


def _heads(b: Builder, x: str, count: int, head_dim: int) -> str:
    """[B, S, count*D] -> [B, count, S, D]"""
    return b.op("Transpose", b.reshape(x, [0, 0, count, head_dim]), perm=[0, 2, 1, 3])


def _attention(b: Builder, x: str, p: str, w: Weights, text: Any, layer: int, chunk: Chunk, rope: tuple[str, str], future: str | None) -> tuple[str, str]:
    heads, kv = text.num_attention_heads, text.num_key_value_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    def linear(part: str) -> str:
        return b.linear(x, f"{p}self_attn.{part}_proj", w[f"{p}self_attn.{part}_proj.weight"], w.get(f"{p}self_attn.{part}_proj.bias"))
    if b.fuses(dim):
        mixed = fused_attention(b, layer, linear("q"), linear("k"), linear("v"), chunk, rope, heads, kv, dim, dim ** -0.5)
        return b.linear(mixed, f"{p}self_attn.o_proj", w[f"{p}self_attn.o_proj.weight"]), None
    def project(part: str, count: int) -> str:
        return _heads(b, linear(part), count, dim)
    query = rotate(b, project("q", heads), *rope)
    keys, values = cache_layer(b, layer, rotate(b, project("k", kv), *rope), project("v", kv), chunk.positions, kv, dim)
    if future is None:
        future = b.op("Unsqueeze", causal_mask(b, chunk.positions, b.dim(keys, 2)), b.const([1]))
    # Grouped queries: [B, kv, group, S, D] against [B, kv, 1, C, D].
    grouped = b.op("Reshape", query, b.op("Concat", b.const([0, kv, heads // kv]), b.dim(query, 2), b.const([dim]), axis=0))
    scaled = b.op("Mul", grouped, b.scalar(dim ** -0.5))
    scores = b.op("MatMul", scaled, b.op("Transpose", b.op("Unsqueeze", keys, b.const([2])), perm=[0, 1, 2, 4, 3]))
    weights = b.op("Softmax", b.op("Where", future, b.scalar(MASKED), scores), axis=-1)
    mixed = b.op("MatMul", weights, b.op("Unsqueeze", values, b.const([2])))
    joined = b.op("Transpose", b.op("Reshape", mixed, b.op("Concat", b.const([0, heads]), b.dim(mixed, 3), b.const([dim]), axis=0)), perm=[0, 2, 1, 3])
    flat = b.reshape(joined, [0, 0, heads * dim])
    return b.linear(flat, f"{p}self_attn.o_proj", w[f"{p}self_attn.o_proj.weight"]), future


def language_program(text: Any, w: Weights, image_token: int, lm_head: np.ndarray | None = None) -> onnx.ModelProto:
    """input_ids, position_ids, vision_embeds, image_idx, past_* -> logits [B,1,V], retained state.

    `w` holds the decoder's weights (`embed_tokens.weight`, `layers.N...`, `norm.weight`); no lm_head means tied.
    """
    b = Builder("language")
    hidden = text.hidden_size
    embed = b.weight("embed_tokens.weight", w["embed_tokens.weight"])
    chunk = read_chunk(b, embed, image_token, hidden)
    dim = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    theta, limit = float(text.rope_parameters["rope_theta"]), text.max_position_embeddings
    rope = angle_tables(b, dim, theta, limit) if b.fuses(dim) else rope_tables(b, chunk.positions, dim, theta, limit)
    x, future = chunk.embeds, None
    for layer in range(text.num_hidden_layers):
        p = f"layers.{layer}."
        normed = rms_norm(b, x, f"{p}input_layernorm.weight", w[f"{p}input_layernorm.weight"], text.rms_norm_eps)
        attended, future = _attention(b, normed, p, w, text, layer, chunk, rope, future)
        x = b.op("Add", x, attended)
        normed = rms_norm(b, x, f"{p}post_attention_layernorm.weight", w[f"{p}post_attention_layernorm.weight"], text.rms_norm_eps)
        gate = silu(b, b.linear(normed, f"{p}mlp.gate_proj", w[f"{p}mlp.gate_proj.weight"]))
        up = b.linear(normed, f"{p}mlp.up_proj", w[f"{p}mlp.up_proj.weight"])
        x = b.op("Add", x, b.linear(b.op("Mul", gate, up), f"{p}mlp.down_proj", w[f"{p}mlp.down_proj.weight"]))
    final = b.op("GatherND", x, b.op("Unsqueeze", chunk.last, b.const([2])), batch_dims=1)
    final = rms_norm(b, final, "norm.weight", w["norm.weight"], text.rms_norm_eps)
    if lm_head is None:
        logits = tied_logits(b, final, embed, text.vocab_size)
    else:
        logits = b.op("MatMul", final, b.weight("lm_head.weight", lm_head.T), out="logits")
    b.output(logits, "logits", TensorProto.FLOAT, ["batch_size", 1, text.vocab_size])
    return b.model()

"""The Granite decoder as a language program: Llama's layers with four multipliers, kept in the graph as they are."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from .builder import Builder
from .cache import MASKED, Chunk, angle_tables, cache_layer, causal_mask, fused_attention, read_chunk, rope_tables, rotate, tied_logits
from .qwen2 import rms_norm, silu

Weights = Mapping[str, np.ndarray]


def _attention(b: Builder, x: str, p: str, w: Weights, text: Any, layer: int, chunk: Chunk, rope: tuple[str, str], future: str | None) -> tuple[str, str]:
    heads, kv = text.num_attention_heads, text.num_key_value_heads
    dim = getattr(text, "head_dim", None) or text.hidden_size // heads
    def linear(x: str, part: str) -> str:
        return b.linear(x, f"{p}self_attn.{part}", w[f"{p}self_attn.{part}.weight"], w.get(f"{p}self_attn.{part}.bias"))
    if b.fuses(dim):
        mixed = fused_attention(b, layer, linear(x, "q_proj"), linear(x, "k_proj"), linear(x, "v_proj"), chunk, rope, heads, kv, dim, text.attention_multiplier)
        return linear(mixed, "o_proj"), None
    def project(part: str, count: int) -> str:
        return b.op("Transpose", b.reshape(linear(x, part), [0, 0, count, dim]), perm=[0, 2, 1, 3])
    query = rotate(b, project("q_proj", heads), *rope)
    keys, values = cache_layer(b, layer, rotate(b, project("k_proj", kv), *rope), project("v_proj", kv), chunk.positions, kv, dim)
    if future is None:
        future = b.op("Unsqueeze", causal_mask(b, chunk.positions, b.dim(keys, 2)), b.const([1]))
    # Grouped queries: [B, kv, group, S, D] against [B, kv, 1, C, D].
    grouped = b.op("Reshape", query, b.op("Concat", b.const([0, kv, heads // kv]), b.dim(query, 2), b.const([dim]), axis=0))
    # attention_multiplier stands in place of 1 / sqrt(D). Scaling the query keeps the scores small enough for f16.
    scores = b.op("MatMul", b.op("Mul", grouped, b.scalar(text.attention_multiplier)),
                  b.op("Transpose", b.op("Unsqueeze", keys, b.const([2])), perm=[0, 1, 2, 4, 3]))
    weights = b.op("Softmax", b.op("Where", future, b.scalar(MASKED), scores), axis=-1)
    mixed = b.op("MatMul", weights, b.op("Unsqueeze", values, b.const([2])))
    joined = b.op("Reshape", mixed, b.op("Concat", b.const([0, heads]), b.dim(mixed, 3), b.const([dim]), axis=0))
    return linear(b.reshape(b.op("Transpose", joined, perm=[0, 2, 1, 3]), [0, 0, heads * dim]), "o_proj"), future


def language_program(text: Any, w: Weights, image_token: int, lm_head: np.ndarray | None = None, logits_scaling: float = 1.0) -> onnx.ModelProto:
    """input_ids, position_ids, vision_embeds, image_idx, past_* -> logits [B,1,V], retained state; no lm_head means tied.

    `logits_scaling` is given by the caller: it belongs to GraniteForCausalLM, not to the decoder that other models wrap.
    """
    b = Builder("language")
    hidden = text.hidden_size
    embed = b.weight("embed_tokens.weight", w["embed_tokens.weight"])
    chunk = read_chunk(b, embed, image_token, hidden)
    dim = getattr(text, "head_dim", None) or hidden // text.num_attention_heads
    theta, limit = float(text.rope_parameters["rope_theta"]), text.max_position_embeddings
    rope = angle_tables(b, dim, theta, limit) if b.fuses(dim) else rope_tables(b, chunk.positions, dim, theta, limit)
    # The multiplier takes in vision rows as well: the reference applies it after they replaced their tokens.
    x, future = b.op("Mul", chunk.embeds, b.scalar(text.embedding_multiplier)), None
    def residual(x: str, y: str) -> str:
        return b.op("Add", x, b.op("Mul", y, b.scalar(text.residual_multiplier)))
    for layer in range(text.num_hidden_layers):
        p = f"layers.{layer}."
        normed = rms_norm(b, x, f"{p}input_layernorm.weight", w[f"{p}input_layernorm.weight"], text.rms_norm_eps)
        attended, future = _attention(b, normed, p, w, text, layer, chunk, rope, future)
        x = residual(x, attended)
        normed = rms_norm(b, x, f"{p}post_attention_layernorm.weight", w[f"{p}post_attention_layernorm.weight"], text.rms_norm_eps)
        def mlp(x: str, part: str) -> str:
            return b.linear(x, f"{p}mlp.{part}", w[f"{p}mlp.{part}.weight"], w.get(f"{p}mlp.{part}.bias"))
        x = residual(x, mlp(b.op("Mul", silu(b, mlp(normed, "gate_proj")), mlp(normed, "up_proj")), "down_proj"))
    final = b.op("GatherND", x, b.op("Unsqueeze", chunk.last, b.const([2])), batch_dims=1)
    final = rms_norm(b, final, "norm.weight", w["norm.weight"], text.rms_norm_eps)
    logits = tied_logits(b, final, embed, text.vocab_size) if lm_head is None else b.op("MatMul", final, b.weight("lm_head.weight", lm_head.T))
    b.output(logits if logits_scaling == 1.0 else b.op("Div", logits, b.scalar(logits_scaling)), "logits", TensorProto.FLOAT, ["batch_size", 1, text.vocab_size])
    return b.model()

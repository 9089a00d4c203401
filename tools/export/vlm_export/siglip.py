"""The SigLIP vision tower, up to the hidden states that a model takes its features from."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .builder import Builder
from .internvl import gelu, layer_norm

Weights = Mapping[str, np.ndarray]


def gelu_tanh(b: Builder, x: str) -> str:
    cubed = b.op("Mul", b.op("Mul", x, x), x)
    inner = b.op("Add", x, b.op("Mul", cubed, b.scalar(0.044715)))
    return b.op("Mul", b.op("Mul", x, b.scalar(0.5)), b.op("Add", b.op("Tanh", b.op("Mul", inner, b.scalar(math.sqrt(2 / math.pi)))), b.scalar(1.0)))


ACTIVATIONS = {"gelu_pytorch_tanh": gelu_tanh, "gelu": gelu}


def _attention(b: Builder, x: str, p: str, w: Weights, tower: Any) -> str:
    heads = tower.num_attention_heads
    dim = tower.hidden_size // heads
    def project(part: str, perm: list[int]) -> str:
        name = f"{p}self_attn.{part}_proj"
        return b.op("Transpose", b.reshape(b.linear(x, name, w[f"{name}.weight"], w[f"{name}.bias"]), [0, 0, heads, dim]), perm=perm)
    scores = b.op("MatMul", b.op("Mul", project("q", [0, 2, 1, 3]), b.scalar(dim ** -0.5)), project("k", [0, 2, 3, 1]))
    mixed = b.op("MatMul", b.op("Softmax", scores, axis=-1), project("v", [0, 2, 1, 3]))
    flat = b.reshape(b.op("Transpose", mixed, perm=[0, 2, 1, 3]), [0, 0, heads * dim])
    name = f"{p}self_attn.out_proj"
    return b.linear(flat, name, w[f"{name}.weight"], w[f"{name}.bias"])


def hidden_states(b: Builder, pixels: str, w: Weights, tower: Any, wanted: list[int]) -> list[str]:
    """pixels [tiles, 3, S, S] -> the wanted hidden states [tiles, P², D]; 0 is the embeddings, negative ones count from the last.

    Layers behind the last one wanted are left out of the graph. No state is normalised: that is what the reference takes.
    """
    layers = [n % (tower.num_hidden_layers + 1) for n in wanted]
    act, patch = ACTIVATIONS[tower.hidden_act], tower.patch_size
    name = "embeddings.patch_embedding"
    x = b.op("Conv", pixels, b.weight(f"{name}.weight", w[f"{name}.weight"]), b.weight(f"{name}.bias", w[f"{name}.bias"]),
             kernel_shape=[patch, patch], strides=[patch, patch])
    side = tower.image_size // patch
    x = b.op("Transpose", b.reshape(x, [0, tower.hidden_size, side * side]), perm=[0, 2, 1])
    x = b.op("Add", x, b.weight("embeddings.position_embedding.weight", w["embeddings.position_embedding.weight"]))
    states = [x]
    for layer in range(max(layers)):
        p = f"encoder.layers.{layer}."
        x = b.op("Add", x, _attention(b, layer_norm(b, x, f"{p}layer_norm1", w, tower.layer_norm_eps), p, w, tower))
        y = layer_norm(b, x, f"{p}layer_norm2", w, tower.layer_norm_eps)
        y = act(b, b.linear(y, f"{p}mlp.fc1", w[f"{p}mlp.fc1.weight"], w[f"{p}mlp.fc1.bias"]))
        x = b.op("Add", x, b.linear(y, f"{p}mlp.fc2", w[f"{p}mlp.fc2.weight"], w[f"{p}mlp.fc2.bias"]))
        states.append(x)
    return [states[n] for n in layers]

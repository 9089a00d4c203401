"""Forward pass over packed batches, the answer loss, and the throw-away detection head."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import InternVLForConditionalGeneration

from .data import Batch
from .folder import MEAN, STD
from .world import COLORS, SHAPES, SIZES

SOFTNESS = 0.7  # standard deviation of a coordinate's target, in steps of ten thousandths


def normalize(tiles: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(tiles)).float().div_(255)
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def see(model: InternVLForConditionalGeneration, tiles: np.ndarray) -> torch.Tensor:
    """[N, 3, S, S] uint8 -> [N * 16, H]"""
    features = model.get_image_features(normalize(tiles), return_dict=True).pooler_output
    return features.reshape(-1, features.shape[-1])


class Detector(nn.Module):
    """One linear layer per image token: is a centre here, which shape, colour, size, and its box."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.parts = (1, len(SHAPES), len(COLORS), len(SIZES), 4)
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, sum(self.parts))

    def forward(self, features: torch.Tensor, targets: dict[str, np.ndarray]) -> torch.Tensor:
        here, kind, color, size, box = self.linear(self.norm(features)).split(self.parts, dim=-1)
        t = {k: torch.from_numpy(v) for k, v in targets.items()}
        there = t["kind"] >= 0
        loss = F.binary_cross_entropy_with_logits(here[:, 0], there.float())
        loss = loss + F.cross_entropy(kind, t["kind"], ignore_index=-1) * 0.4 + F.cross_entropy(color, t["color"], ignore_index=-1) * 0.4
        loss = loss + F.cross_entropy(size, t["size"], ignore_index=-1) * 0.3
        return loss + F.smooth_l1_loss(box[there], t["box"][there], beta=0.02) * 6


def soft_targets(numbers: dict[int, int], vocab: int) -> torch.Tensor:
    """[V, V]: row of a coordinate token holds a Gaussian over its neighbours, any other row is one-hot."""
    table = torch.eye(vocab)
    ids = torch.tensor(list(numbers))
    values = torch.tensor(list(numbers.values())).float() / 10
    weights = torch.exp(-((values[:, None] - values[None]) / SOFTNESS) ** 2 / 2)
    table[ids] = 0
    table[ids[:, None], ids[None]] = weights / weights.sum(1, keepdim=True)
    return table


def mask_of(segments: torch.Tensor) -> torch.Tensor:
    """Additive [B, 1, L, L]: causal, and a conversation sees only itself and the shared prefix."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segments[:, :, None] == segments[:, None, :]
    allowed = causal & (same | (segments == 0)[:, None, :])
    return torch.zeros(allowed.shape).masked_fill_(~allowed, -1e4)[:, None]


def answer_logits(model: InternVLForConditionalGeneration, batch: Batch, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [A, V] at every answer position and the boolean [B, L] that selects them."""
    ids = torch.from_numpy(batch.ids)
    embeds = model.get_input_embeddings()(ids)
    at = (ids == model.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(at, features)
    hidden = model.model.language_model(
        inputs_embeds=embeds, attention_mask=mask_of(torch.from_numpy(batch.segments)),
        position_ids=torch.from_numpy(batch.positions), use_cache=False,
    ).last_hidden_state
    wanted = torch.from_numpy(batch.labels >= 0)
    return model.lm_head(hidden[wanted]), wanted


def answer_loss(logits: torch.Tensor, batch: Batch, wanted: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    labels = torch.from_numpy(batch.labels)[wanted]
    soft = torch.from_numpy(batch.soft)[wanted]
    logp = logits.log_softmax(-1)
    plain = -logp[~soft].gather(1, labels[~soft, None]).sum()
    spread = -(table[labels[soft]] * logp[soft]).sum()
    return (plain + spread) / len(labels)

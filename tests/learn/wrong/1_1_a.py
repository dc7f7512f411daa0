"""Heads repeated in the order 0 1 0 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    """q [T, Hq, D]; k, v [S, H, D]; visible [T, S] -> [T, Hq, D]"""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, group, 1), v.repeat(1, group, 1)  # [S, Hq, D]
    scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1).nan_to_num(0.0)  # [Hq, T, S]
    return torch.einsum("hts,shd->thd", weights, v)

"""Attention that sees each block of keys once."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def attend(query: Tensor, blocks: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """query [D]; blocks of keys [n, D] and values [n, D]. Returns [D]; zeros if there was no key."""
    # <solution>
    top, total, value = -math.inf, torch.zeros((), dtype=query.dtype), torch.zeros_like(query)
    for keys, values in blocks:
        if not len(keys):
            continue
        score = keys @ query  # [n]
        new = max(top, float(score.max()))
        weight, factor = (score - new).exp(), math.exp(top - new)
        total = total * factor + weight.sum()
        value = value * factor + weight @ values
        top = new
    return value / total if total > 0 else value
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

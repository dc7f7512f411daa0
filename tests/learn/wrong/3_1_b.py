"""Subtracts nothing."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def attend(query: Tensor, blocks: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """query [D]; blocks of keys [n, D] and values [n, D]. Returns [D]; zeros if there was no key."""
    total, value = torch.zeros((), dtype=query.dtype), torch.zeros_like(query)
    for keys, values in blocks:
        if not len(keys):
            continue
        score = keys @ query  # [n]
        new = 0.0
        weight, factor = (score - new).exp(), 1.0
        total = total * factor + weight.sum()
        value = value * factor + weight @ values
    return value / total if total > 0 else value

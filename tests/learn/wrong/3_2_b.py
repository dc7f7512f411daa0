"""Cleans the pool, which is not its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def attend(query: Tensor, keys: Tensor, values: Tensor, table: Sequence[int], length: int) -> Tensor:
    """query [D]; keys and values [blocks, size, D]. Returns [D]."""
    k = keys[list(table)].flatten(0, 1)  # [tokens, D]: whole blocks
    v = values[list(table)].flatten(0, 1)
    hidden = torch.arange(len(k)) >= length
    score = (k @ query).masked_fill(hidden, -math.inf)  # [tokens]
    weight = score.softmax(0)  # zero for what is hidden
    del v
    for i in range(length, len(k)):
        values[table[i // values.shape[1]], i % values.shape[1]] = 0
    return weight @ values[list(table)].flatten(0, 1)

"""One key too few: a token does not see itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def prefill(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Tensor:
    """Causal attention of a whole text, ``chunk`` tokens at a time. q, k, v [heads, T, D] -> [heads, T, D]"""
    length = q.shape[1]
    out = []
    for start in range(0, length, chunk):
        stop = min(start + chunk, length)
        # What is in the cache when these tokens are computed: everything up to themselves.
        keys, values = k[:, :stop], v[:, :stop]
        visible = torch.ones(stop - start, stop, dtype=torch.bool).tril(max(0, start - 1))
        out.append(F.scaled_dot_product_attention(q[:, start:stop], keys, values, attn_mask=visible))
    return torch.cat(out, 1)

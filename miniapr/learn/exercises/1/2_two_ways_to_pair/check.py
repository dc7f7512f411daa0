"""What counts is the score of a query and a key: it must not change with the convention."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def scores(work: Any, query: Tensor, key: Tensor, heads: int, at: tuple[int, int], interleaved: bool) -> Tensor:
    """Of one token at position at[0] for one at position at[1], head by head."""
    if interleaved:
        query, key = work.to_interleaved(query, heads), work.to_interleaved(key, heads)
    x = torch.linspace(-1, 1, query.shape[1], dtype=torch.float64)
    q, k = ((weight @ x).view(1, heads, -1) for weight in (query, key))
    turned = [work.rotate(part, torch.tensor([p]), interleaved) for part, p in zip((q, k), at, strict=True)]
    return (turned[0] * turned[1]).sum(-1)


def check(work: Any) -> None:
    @given(st.integers(1, 3), st.sampled_from([2, 4, 6, 8]))
    def same_rows(heads: int, size: int) -> None:
        """The same rows come out, each head's in its own place."""
        found = work.to_interleaved(torch.arange(heads * size)[:, None], heads)
        assert found.shape == (heads * size, 1), f"the matrix is {list(found.shape)}, not {[heads * size, 1]}"
        rows = [sorted(head) for head in found[:, 0].view(heads, size).tolist()]
        true = torch.arange(heads * size).view(heads, size).tolist()
        assert rows == true, f"rows by head are {rows}, not {true}"

    @settings(max_examples=60)
    @given(st.integers(1, 3), st.sampled_from([2, 4, 6, 8]), st.integers(0, 9), st.integers(0, 9))
    def same_scores(heads: int, size: int, query_at: int, key_at: int) -> None:
        """A converted model, run with interleaved pairs, gives the scores of the original one."""
        random = torch.Generator().manual_seed(0)
        query, key = torch.randn(2, heads * size, 5, generator=random, dtype=torch.float64)
        original = scores(work, query, key, heads, (query_at, key_at), interleaved=False)
        found = scores(work, query, key, heads, (query_at, key_at), interleaved=True)
        off = float((found - original).abs().max())
        assert torch.allclose(found, original), f"scores are off by up to {off:.2f}"

    same_rows()
    same_scores()

"""Plain softmax over all keys at once, in float64, is the judge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

D = 4
sizes = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def numbers(sizes: list[int], seed: int, scale: float) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    random = torch.Generator().manual_seed(seed)
    query = scale * torch.randn(D, generator=random, dtype=torch.float64)
    return query, [tuple(torch.randn(2, n, D, generator=random, dtype=torch.float64)) for n in sizes]


def compare(work: Any, query: Tensor, blocks: list[tuple[Tensor, Tensor]]) -> None:
    def once() -> Iterator[tuple[Tensor, Tensor]]:
        for keys, values in blocks:
            lent = keys.clone(), values.clone()
            yield lent
            lent[0].fill_(torch.nan), lent[1].fill_(torch.nan)  # whoever kept it has nothing

    keys, values = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    wanted = (keys @ query).softmax(0) @ values
    got = work.attend(query, once())
    assert got.shape == (D,), f"the shape is {tuple(got.shape)}, not ({D},)"
    assert torch.allclose(got, wanted, atol=1e-9), f"it is {got.tolist()}, not {wanted.tolist()}"


def check(work: Any) -> None:
    @given(st.integers(1, 5), st.integers(0, 9))
    def one_block(size: int, seed: int) -> None:
        """One block is ordinary attention."""
        compare(work, *numbers([size], seed, 1.0))

    @given(sizes, st.integers(0, 99))
    def blocks(sizes: list[int], seed: int) -> None:
        """However the keys are cut into blocks, the result is that of all keys at once."""
        compare(work, *numbers(sizes, seed, 2.0))

    @given(sizes, st.integers(0, 99))
    def large(sizes: list[int], seed: int) -> None:
        """Scores in the thousands give the same as all keys at once, and no infinity."""
        compare(work, *numbers(sizes, seed, 3000.0))

    one_block()
    blocks()
    large()

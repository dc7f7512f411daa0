"""What lies in slots that nobody wrote changes nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

D = 2
left = st.sampled_from([0.0, 7.0, math.inf, -math.inf, math.nan])


def check(work: Any) -> None:
    def compare(size: int, length: int, keys_left: float, values_left: float, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        query = torch.randn(D, generator=random, dtype=torch.float64)
        k, v = torch.randn(2, length, D, generator=random, dtype=torch.float64)
        blocks = -(-length // size)
        table = torch.randperm(blocks + 1, generator=random)[:blocks].tolist()
        keys = torch.full((blocks + 1, size, D), keys_left, dtype=torch.float64)
        values = torch.full((blocks + 1, size, D), values_left, dtype=torch.float64)
        for i in range(length):
            keys[table[i // size], i % size], values[table[i // size], i % size] = k[i], v[i]
        before = keys.clone(), values.clone()
        wanted = (k @ query).softmax(0) @ v
        got = work.attend(query, keys, values, table, length)
        assert torch.allclose(got, wanted, atol=1e-9), f"it is {got.tolist()}, not {wanted.tolist()}"
        same = all(torch.equal(a.nan_to_num(5), b.nan_to_num(5)) for a, b in zip(before, (keys, values), strict=True))
        assert same, "the pool belongs to others, too, and was changed"

    @given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 9))
    def fresh(size: int, length: int, seed: int) -> None:
        """In a new pool, where unused slots are zero, it is ordinary attention, and the pool stays as it was."""
        compare(size, length, 0.0, 0.0, seed)

    @given(st.integers(1, 4), st.integers(1, 9), left, left)
    def used(size: int, length: int, keys_left: float, values_left: float) -> None:
        """Whatever unused slots hold, the result is that of the text's own tokens, and the pool stays as it was."""
        compare(size, length, keys_left, values_left, 0)

    fresh()
    used()

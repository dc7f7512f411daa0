"""Attention over all keys at once is the judge."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

lengths, sizes = st.integers(0, 5), st.sampled_from([1, 2, 8])
scales = st.sampled_from([1.0, 1000.0])


def numbers(length: int, size: int, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(10 * length + size)
    q, k, v = (torch.randn(*shape, generator=random).double() for shape in ((size,), (length, size), (length, size)))
    return q * scale, k, v


def judge(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    scores = k @ q / len(q) ** 0.5
    if not len(k):
        return torch.zeros_like(q), torch.tensor(-torch.inf, dtype=q.dtype)
    return scores.softmax(0) @ v, scores.max() + (scores - scores.max()).exp().sum().log()


def same(found: Any, true: tuple[Tensor, Tensor]) -> None:
    value, lse = found
    assert not torch.isnan(value).any(), "the value is NaN"
    assert torch.allclose(value, true[0], rtol=1e-9, atol=1e-9), (
        f"the value is {value.tolist()}, not {true[0].tolist()}"
    )
    assert torch.allclose(lse, true[1], rtol=1e-9, atol=1e-9), f"the log-sum-exp is {float(lse)}, not {float(true[1])}"


def check(work: Any) -> None:
    @given(st.integers(1, 5), sizes)
    def one(length: int, size: int) -> None:
        """The state of one piece is its attention."""
        q, k, v = numbers(length, size)
        same(work.state(q, k, v), judge(q, k, v))

    @given(st.integers(1, 4), st.integers(1, 4), sizes)
    def two(a: int, b: int, size: int) -> None:
        """Two pieces merged are attention over both."""
        q, k, v = numbers(a + b, size)
        same(work.merge(work.state(q, k[:a], v[:a]), work.state(q, k[a:], v[a:])), judge(q, k, v))

    @given(lengths, lengths, sizes)
    def nothing(a: int, b: int, size: int) -> None:
        """A piece without keys changes nothing, and two of them are one."""
        q, k, v = numbers(a + b, size)
        same(work.merge(work.state(q, k[:a], v[:a]), work.state(q, k[a:], v[a:])), judge(q, k, v))

    @given(st.integers(1, 4), st.integers(1, 4), sizes, scales)
    def large(a: int, b: int, size: int, scale: float) -> None:
        """Scores in the hundreds do not overflow."""
        q, k, v = numbers(a + b, size, scale)
        same(work.merge(work.state(q, k[:a], v[:a]), work.state(q, k[a:], v[a:])), judge(q, k, v))

    one()
    two()
    nothing()
    large()

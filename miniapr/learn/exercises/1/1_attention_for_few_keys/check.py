"""Loops over tokens and heads, in float64, are the judge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    tokens: int
    keys: int
    key_heads: int
    group: int  # query heads for each key head
    size: int


counts = st.integers(1, 4)
one = st.just(1)
plain = st.builds(Shape, tokens=counts, keys=counts, key_heads=one, group=one, size=st.sampled_from([1, 4]))
shapes = st.builds(
    Shape,
    tokens=counts,
    keys=counts,
    key_heads=counts,
    group=st.sampled_from([1, 2, 3, 8]),
    size=st.sampled_from([1, 2, 4]),
)


@st.composite
def masks(draw: st.DrawFn) -> tuple[Shape, list[list[bool]]]:
    shape = draw(shapes)
    row = st.lists(st.booleans(), min_size=shape.keys, max_size=shape.keys)
    return shape, draw(st.lists(row, min_size=shape.tokens, max_size=shape.tokens))


def numbers(shape: Shape, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)

    def some(*size: int) -> Tensor:
        return torch.randn(*size, generator=random, dtype=torch.float64)

    keys = (shape.keys, shape.key_heads, shape.size)
    return some(shape.tokens, shape.key_heads * shape.group, shape.size), some(*keys), some(*keys)


def judge(q: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
    out = torch.zeros_like(q)
    group = q.shape[1] // k.shape[1]
    for t in range(q.shape[0]):
        for head in range(q.shape[1]):
            seen = [s for s in range(k.shape[0]) if visible[t, s]]
            weight = [math.exp(float(q[t, head] @ k[s, head // group]) / math.sqrt(q.shape[2])) for s in seen]
            for s, w in zip(seen, weight, strict=True):
                out[t, head] += w / sum(weight) * v[s, head // group]
    return out


def same(work: Any, shape: Shape, seed: int, visible: Tensor) -> None:
    q, k, v = numbers(shape, seed)
    found, true = work.attention(q, k, v, visible), judge(q, k, v, visible)
    assert found.shape == true.shape, f"the result is {list(found.shape)}, not {list(true.shape)}"
    assert not found.isnan().any(), "the result holds NaN"
    assert torch.allclose(found, true), f"off by up to {float((found - true).abs().max()):.3f}"


def check(work: Any) -> None:
    seeds = st.integers(0, 100)

    @settings(max_examples=30)
    @given(plain, seeds)
    def one_head(shape: Shape, seed: int) -> None:
        """One head, everything visible: weights of the softmax of scores, divided by the root of D."""
        same(work, shape, seed, torch.ones(shape.tokens, shape.keys, dtype=torch.bool))

    @settings(max_examples=40)
    @given(shapes, seeds)
    def groups(shape: Shape, seed: int) -> None:
        """Neighbouring query heads share a key head."""
        same(work, shape, seed, torch.ones(shape.tokens, shape.keys, dtype=torch.bool))

    @settings(max_examples=40)
    @given(masks(), seeds)
    def masked(case: tuple[Shape, list[list[bool]]], seed: int) -> None:
        """What is not visible does not count, and who sees nothing gets zeros."""
        shape, visible = case
        same(work, shape, seed, torch.tensor(visible))

    one_head()
    groups()
    masked()

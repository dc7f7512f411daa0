"""One token at a time is the judge: there is no mask in it at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from miniapr.show import draw

lengths, chunks = st.integers(1, 8), st.integers(1, 9)


def text(length: int, heads: int = 2, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(length)
    q, k, v = torch.randn(3, heads, length, size, generator=random, dtype=torch.float64)
    return q, k, v


def judge(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    rows = []
    for i in range(q.shape[1]):
        score = (k[:, : i + 1] @ q[:, i, :, None])[..., 0] / q.shape[-1] ** 0.5  # [heads, i + 1]
        rows.append((score.softmax(-1)[..., None] * v[:, : i + 1]).sum(1))
    return torch.stack(rows, 1)


def compare(work: Any, length: int, chunk: int) -> None:
    q, k, v = text(length)
    found, true = work.prefill(q, k, v, chunk), judge(q, k, v)
    assert found.shape == true.shape, f"the result is {list(found.shape)}, not {list(true.shape)}"
    wrong = [i for i in range(length) if not torch.allclose(found[:, i], true[:, i])]
    assert not wrong, f"tokens {wrong} are wrong"


def check(work: Any) -> None:
    @given(lengths)
    def whole(length: int) -> None:
        """A text that fits into one chunk is right."""
        compare(work, length, length)

    @given(lengths)
    def one_by_one(length: int) -> None:
        """Chunks of one token see all that came before."""
        compare(work, length, 1)

    @settings(max_examples=60)
    @given(lengths, chunks)
    def any_chunk(length: int, chunk: int) -> None:
        """The chunk size changes nothing."""
        compare(work, length, chunk)

    whole()
    one_by_one()
    any_chunk()


def picture(work: Any, path: Path) -> None:
    """Who looks at whom, found out by changing one token's value at a time."""
    length, chunk = 7, 3
    q, k, v = text(length)
    before = work.prefill(q, k, v, chunk)
    sees = torch.zeros(length, length, dtype=torch.bool)
    for token in range(length):
        changed = v.clone()
        changed[:, token] += 1
        sees[:, token] = (work.prefill(q, k, changed, chunk) - before).abs().amax((0, 2)) > 1e-9
    draw.matrix(sees, range(length), range(length), "Your prefill, 7 tokens, chunks of 3: who sees whom").save(path)

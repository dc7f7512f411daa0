"""Spans and views, and what ``unroll`` makes of them, are the judge: the same function that judges the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from miniapr import Span, View, unroll

lengths = st.lists(st.integers(1, 3), max_size=3)


def true(prefix: int, branches: list[int], after: int) -> tuple[list[int], torch.Tensor]:
    root = Span(0, View(), [0] * prefix)
    view = View((root.whole(),))
    spans = [Span(prefix, view, [0] * length) for length in branches]
    joined = view + [span.whole() for span in spans]
    last = Span(max((span.end for span in spans), default=prefix), joined, [0] * after)
    form = unroll([(joined, last)])
    return form.positions.tolist(), form.visible


def check(work: Any) -> None:
    @given(st.integers(1, 3), lengths, st.integers(1, 3))
    def positions(prefix: int, branches: list[int], after: int) -> None:
        """Branches begin at one position, and what follows begins after the longest of them."""
        found, wanted = list(work.pack(prefix, branches, after)[0]), true(prefix, branches, after)[0]
        assert found == wanted, f"positions are {found}, not {wanted}"

    @given(st.integers(1, 3), lengths, st.integers(1, 3))
    def mask(prefix: int, branches: list[int], after: int) -> None:
        """A branch sees the prefix and itself, what follows sees all, and nobody sees what comes later."""
        found = torch.as_tensor(work.pack(prefix, branches, after)[1])
        wanted = true(prefix, branches, after)[1]
        assert found.shape == wanted.shape, f"the mask is {list(found.shape)}, not {list(wanted.shape)}"
        for i, j in (found != wanted).nonzero().tolist()[:1]:
            says = "sees" if found[i, j] else "does not see"
            raise AssertionError(f"token {i} {says} token {j}")

    positions()
    mask()


def picture(work: Any, path: Path) -> None:
    """The mask of an example, with positions on its edges."""
    from miniapr.show import draw

    positions, visible = work.pack(3, [2, 3], 2)
    draw.matrix(visible, positions, positions, "pack(3, [2, 3], 2): who sees whom, by positions").save(path)

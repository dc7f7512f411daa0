"""Memory is counted off in order: a number's neighbour is one further on, a block follows its predecessor."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

shapes = st.tuples(st.sampled_from([1, 2, 8]), st.sampled_from([2, 64, 128]), st.sampled_from([1, 3, 16]))


def check(work: Any) -> None:
    @given(shapes, st.integers(0, 9), st.data())
    def small(shape: tuple[int, int, int], block: int, data: Any) -> None:
        """In a small pool every number has its place, in the order block, head, d, slot."""
        heads, D, size = shape
        head, d, slot = (
            data.draw(st.integers(0, n - 1), name) for n, name in zip(shape, ("head", "d", "slot"), strict=True)
        )
        wanted = slot + size * d + size * D * head + size * D * heads * block
        got = work.offset(block, head, d, slot, heads, D, size)
        assert got == wanted, f"it is {got}, not {wanted}"

    @given(shapes, st.integers(0, 10**8))
    def large(shape: tuple[int, int, int], block: int) -> None:
        """Each block begins where the one before it ended, in a pool of any size."""
        heads, D, size = shape
        got, before = work.offset(block + 1, 0, 0, 0, *shape), work.offset(block, heads - 1, D - 1, size - 1, *shape)
        assert got == before + 1, f"block {block} ends at {before}, block {block + 1} begins at {got}"
        wanted = (block + 1) * heads * D * size
        assert got == wanted, f"block {block + 1} begins at {got}, not {wanted}"

    @given(shapes)
    def boundary(shape: tuple[int, int, int]) -> None:
        """The last offset of the first wrong block is above 2^31 - 1, that of the block before it is not."""
        heads, D, size = shape
        block = work.first_wrong(heads, D, size)
        last = [(b + 1) * heads * D * size - 1 for b in (block - 1, block)]
        assert last[0] <= 2**31 - 1 < last[1], f"blocks {block - 1} and {block} end at {last[0]} and {last[1]}"

    small()
    large()
    boundary()

"""Counted on a pool of reference counts, token by token."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

small = (st.integers(1, 9), st.integers(1, 4), st.integers(1, 9), st.integers(1, 5))


def counted(past: int, k: int, own: int, size: int) -> tuple[int, int]:
    """Blocks in use and copied, with copy-on-write."""
    refs = [k] * -(-past // size)
    tables, copies = [list(range(len(refs))) for _ in range(k)], 0
    for length in range(past, past + own):
        for table in tables:
            if length % size == 0:
                table.append(len(refs))
                refs.append(1)
            elif refs[table[-1]] > 1:
                refs[table[-1]] -= 1
                table[-1] = len(refs)
                refs.append(1)
                copies += 1
    return sum(count > 0 for count in refs), copies


def check(work: Any) -> None:
    @given(*small)
    def with_views(past: int, k: int, own: int, size: int) -> None:
        """With views, the past and each branch have blocks of their own."""
        wanted = len({("past", i // size) for i in range(past)})
        wanted += len({(branch, i // size) for branch in range(k) for i in range(own)})
        got = work.views(past, k, own, size)
        assert got == wanted, f"{got} blocks, not {wanted}"

    @given(*small)
    def blocks(past: int, k: int, own: int, size: int) -> None:
        """With copy-on-write, the full blocks of the past are there once, and each branch goes on from them."""
        got, wanted = work.on_write(past, k, own, size)[0], counted(past, k, own, size)[0]
        assert got == wanted, f"{got} blocks, not {wanted}"

    @given(*small)
    def copies(past: int, k: int, own: int, size: int) -> None:
        """Whoever writes first into a block that others have copies it."""
        got, wanted = work.on_write(past, k, own, size)[1], counted(past, k, own, size)[1]
        assert got == wanted, f"{got} copies, not {wanted}"

    with_views()
    blocks()
    copies()

"""The keys of one reader move, the keys of everybody else stay, and blocks are neither lost nor invented."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

SIZE = 2
readers = st.lists(st.integers(1, 3), min_size=1, max_size=3)
free = st.integers(0, 3)


def made(work: Any, readers: list[int], free: int) -> Any:
    """Blocks 0, 1, ... at positions in order with these many readers, then the free ones."""
    count = len(readers) + free
    keys = [[SIZE * block + i for i in range(SIZE)] for block in range(len(readers))] + [[-1] * SIZE] * free
    return work.Pool(keys, [*readers, *[0] * free], list(range(len(readers), count)))


def check(work: Any) -> None:
    @given(readers, free, st.integers(1, 9))
    def moved(readers: list[int], free: int, by: int) -> None:
        """The reader finds every key moved."""
        assume(sum(n > 1 for n in readers) <= free)
        pool = made(work, readers, free)
        blocks = work.move(pool, list(range(len(readers))), by)
        found, wanted = (
            [pool.keys[block] for block in blocks],
            [[SIZE * block + i + by for i in range(SIZE)] for block in range(len(readers))],
        )
        assert found == wanted, f"its keys are {found}, not {wanted}"

    @given(readers, free, st.integers(1, 9))
    def others_stay(readers: list[int], free: int, by: int) -> None:
        """Whoever else reads a block finds its keys where they were."""
        assume(sum(n > 1 for n in readers) <= free)
        pool = made(work, readers, free)
        work.move(pool, list(range(len(readers))), by)
        for block, count in enumerate(readers):
            there = [SIZE * block + i for i in range(SIZE)]
            assert count == 1 or pool.keys[block] == there, f"block {block}: {pool.keys[block]}, not {there}"

    @given(readers, free)
    def counted(readers: list[int], free: int) -> None:
        """Every block has its readers, what nobody shares is not copied, and what nobody reads is free."""
        assume(sum(n > 1 for n in readers) <= free)
        pool = made(work, readers, free)
        blocks = work.move(pool, list(range(len(readers))), 1)
        wanted = [max(1, n - 1) for n in readers] + [0] * free
        for old, block in enumerate(blocks):
            if readers[old] == 1:
                assert block == old, f"block {old} has one reader, and was copied"
            else:
                wanted[block] = 1
        assert pool.readers == wanted, f"the readers are {pool.readers}, not {wanted}"
        unread = [block for block, count in enumerate(wanted) if not count]
        assert sorted(pool.free) == unread, f"free are {sorted(pool.free)}, not {unread}"

    @given(readers, free)
    def whole_or_not_at_all(readers: list[int], free: int) -> None:
        """Without room for all copies, Full is raised and nothing has changed."""
        assume(sum(n > 1 for n in readers) > free)
        pool = made(work, readers, free)
        before = copy.deepcopy(pool)
        try:
            work.move(pool, list(range(len(readers))), 1)
        except work.Full:
            assert pool == before, f"it is {pool}, it was {before}"
            return
        raise AssertionError("there was no room, and no Full was raised")

    moved()
    others_stay()
    counted()
    whole_or_not_at_all()

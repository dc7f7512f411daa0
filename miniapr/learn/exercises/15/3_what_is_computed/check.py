"""A cache as a chain of blocks is the judge, and the shape that this course is about."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

texts = st.lists(st.integers(0, 1), min_size=1, max_size=7)
requests = st.lists(st.tuples(texts, st.lists(st.integers(0, 1), max_size=3)), min_size=1, max_size=5)


class Chain:
    """Blocks known by the block before them and their tokens."""

    def __init__(self) -> None:
        self.after: dict[tuple[int, ...], Chain] = {}


def true(asked: Any, size: int) -> list[int]:
    root, counts = Chain(), []
    for prompt, written in asked:
        counts.append(len(prompt))
        text, node, found = [*prompt, *written[:-1]], root, True
        for start in range(0, len(text) - size + 1, size) if size else ():
            block = tuple(text[start : start + size])
            found = found and block in node.after and start + size < len(prompt)
            counts[-1] -= size if found else 0
            node = node.after.setdefault(block, Chain())
    return counts


def check(work: Any) -> None:
    @given(requests, st.integers(1, 3))
    @settings(max_examples=80)
    def with_a_cache(asked: Any, size: int) -> None:
        """What was computed before, in whole blocks after the same tokens, is not computed again."""
        compare(asked, size)

    @given(requests)
    @settings(max_examples=20)
    def without(asked: Any) -> None:
        """Without a cache everything is computed, every time."""
        compare(asked, 0)

    @given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
    @settings(max_examples=30)
    def fork_and_join(lengths: list[int]) -> None:
        """After a fork the join finds the prompt and the first thread, and no other one."""
        prompt = list(range(8))
        threads = [[100 * number + i for i in range(length)] for number, length in enumerate(lengths, 1)]
        asked = [(prompt, [8])] + [([*prompt, 8], thread) for thread in threads]
        asked.append(([*prompt, 8, *(token for thread in threads for token in thread)], [9]))
        compare(asked, 1)

    def compare(asked: Any, size: int) -> None:
        found = list(work.prefilled([(list(prompt), list(written)) for prompt, written in asked], size))
        assert found == true(asked, size), f"computed are {found}, not {true(asked, size)} (blocks of {size})"

    with_a_cache()
    without()
    fork_and_join()

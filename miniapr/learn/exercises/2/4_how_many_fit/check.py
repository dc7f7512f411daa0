"""A pool that is filled token by token until it is full is the judge."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

blocks, sizes = st.integers(0, 12), st.integers(1, 4)
prompts, lengths = st.integers(0, 12), st.integers(1, 9)


class Full(Exception):
    """No block is left."""


def write(free: list[int], tokens: int, size: int) -> None:
    """One text, token by token, in blocks of its own."""
    for token in range(tokens):
        if token % size == 0:
            if not free:
                raise Full
            free.pop()


def apart(total: int, size: int, prompt: int, each: int) -> int:
    free = list(range(total))
    for branch in count():
        try:
            write(free, prompt + each, size)
        except Full:
            return branch
    raise AssertionError


def shared(total: int, size: int, prompt: int, each: int) -> int:
    free = list(range(total))
    try:
        write(free, prompt, size)
    except Full:
        return 0
    return apart(len(free), size, 0, each)


def check(work: Any) -> None:
    @given(blocks, sizes, prompts, lengths)
    def alone(total: int, size: int, prompt: int, each: int) -> None:
        """Apart, every branch pays for the prompt."""
        found, true = work.branches_apart(total, size, prompt, each), apart(total, size, prompt, each)
        assert found == true, f"{found} branches, not {true}"

    @given(blocks, sizes, prompts, lengths)
    def together(total: int, size: int, prompt: int, each: int) -> None:
        """Shared, the prompt is paid for once."""
        found, true = work.branches_shared(total, size, prompt, each), shared(total, size, prompt, each)
        assert found == true, f"{found} branches, not {true}"

    alone()
    together()

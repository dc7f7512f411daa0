"""Whatever an engine did before, its answers are those of a fresh one; and every cell is in one state."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from miniapr.learn.tiny import Full, Tiny

prompts = st.lists(st.integers(0, 1), min_size=1, max_size=5)
lengths = st.lists(st.integers(1, 4), min_size=2, max_size=3)


def answer(engine: Any, prompt: list[int]) -> list[int]:
    thread = engine.start(prompt)
    tokens: list[int] = engine.decode(thread, 3)
    engine.end(thread)
    return tokens


def joined(engine: Any, prompt: list[int], branches: list[int]) -> Any:
    parent = engine.start(prompt)
    children = engine.fork(parent, len(branches))
    for child, length in zip(children, branches, strict=True):
        engine.decode(child, length)
        engine.end(child)
    thread = engine.join(parent, children)
    engine.decode(thread, 4)
    return thread


def check(work: Any) -> None:
    @given(st.lists(prompts, min_size=1, max_size=6))
    def one_state(questions: list[list[int]]) -> None:
        """A cell is free, or has readers, or can be found by a name, and a free one is neither of the others."""
        engine = work.Engine(size=8)
        for question in questions:
            answer(engine, question)
            both = set(engine.free) & (set(engine.known.values()) | {c for c, n in enumerate(engine.readers) if n})
            assert not both, f"cells {sorted(both)} are free and still read or found, after {question}"
            assert len(engine.free) == len(set(engine.free)), "a cell is on the free list twice"

    @given(prompts, prompts)
    def readers_keep_what_they_read(first: list[int], second: list[int]) -> None:
        """What a thread reads is never taken from it."""
        size = len(first) + len(second) + 5
        engine, fresh = work.Engine(size=size), Tiny(size=1000)
        for prompt in ([2] * (size - 1), [3] * (size - 1)):  # leaves nothing free
            engine.end(engine.start(prompt))
        held, alone = engine.start(first), fresh.start(first)
        for prompt in (second, [4] * len(second), [5] * len(second)):  # in the end the oldest is the one that is read
            engine.end(engine.start(prompt))
        for _ in range(4):
            found, true = engine.decode(held, 1), fresh.decode(alone, 1)
            assert found == true, f"a thread on {first} decodes {found}, not {true}"
        try:
            engine.start([6] * (size + 1))
        except Full:
            return
        raise AssertionError(f"{size + 1} tokens found room in {size} cells")

    @given(prompts, lengths)
    def stitched_is_not_plain(prompt: list[int], branches: list[int]) -> None:
        """The text of a joined thread, asked for by itself, is answered as by an engine that never joined."""
        engine = work.Engine(size=1000)
        thread = joined(engine, prompt, branches)
        engine.end(engine.start(thread.tokens[:-4]))  # the branches' text, plainly causal this time
        found, true = answer(engine, thread.tokens), answer(Tiny(size=1000), thread.tokens)
        assert found == true, f"it is answered by {found}, not {true}"

    one_state()
    readers_keep_what_they_read()
    stitched_is_not_plain()

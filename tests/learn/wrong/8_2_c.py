"""The same engine judges itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st


def answer(engine: Any, prompt: list[int]) -> list[int]:
    """Three tokens after a prompt; nothing of it is held afterwards."""
    thread = engine.start(prompt)
    tokens: list[int] = engine.decode(thread, 3)
    engine.end(thread)
    return tokens


def test(Engine: Any) -> None:
    prompts = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), max_size=8)

    @given(prompts)
    def holds(questions: list[list[int]]) -> None:
        engine = Engine(size=8)
        for question in questions:
            first = answer(engine, question)
            assert answer(engine, question) == first

    holds()

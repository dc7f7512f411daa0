"""A property that no engine passes that finds what is not there."""

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
    # <solution>
    prompts = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), max_size=8)

    @given(prompts)
    def holds(questions: list[list[int]]) -> None:
        engine = Engine(size=8)
        for question in questions:
            assert answer(engine, question) == answer(Engine(size=8), question)

    holds()
    # </solution>
    # <stub>
    # @given(st.lists(st.integers(0, 999), min_size=1, max_size=5))
    # def holds(question: list[int]) -> None:
    #     assert answer(Engine(size=8), question) == answer(Engine(size=8), question)
    #
    # holds()
    # </stub>

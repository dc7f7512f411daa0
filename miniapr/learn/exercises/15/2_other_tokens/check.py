"""A greedy tokenizer, and token sequences that it would never make itself."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

PIECES = ("a", "b", "c", "ab", "bc", "abc", "\n", "b\n", "</t>", "c</", "t>")
tokens = st.lists(st.integers(0, 6), min_size=1, max_size=4)


def encode(text: str) -> list[int]:
    ids = []
    while text:
        longest = max((piece for piece in PIECES if text.startswith(piece)), key=len)
        ids.append(PIECES.index(longest))
        text = text[len(longest) :]
    return ids


def decode(ids: list[int]) -> str:
    return "".join(PIECES[id] for id in ids)


def check(work: Any) -> None:
    @given(tokens, st.lists(tokens, max_size=3), st.sampled_from(["</t>", "\n", "b\n</t>"]))
    @settings(max_examples=80)
    def as_sampled(prompt: list[int], threads: list[list[int]], close: str) -> None:
        """The prompt and every thread stand in the join as the tokens that they were."""
        found = list(work.join(list(prompt), [list(thread) for thread in threads], close, encode, decode))
        wanted = [*prompt, *(token for thread in threads for token in (*thread, *encode(close)))]
        assert decode(found) == decode(wanted), f"the text is {decode(found)!r}, not {decode(wanted)!r}"
        told, true = ([PIECES[token] for token in some] for some in (found, wanted))
        assert found == wanted, f"the tokens are {told}, not {true}"

    @given(tokens, st.lists(tokens, min_size=1, max_size=3))
    @settings(max_examples=40)
    def untouched(prompt: list[int], threads: list[list[int]]) -> None:
        """What was given stays as it is."""
        before = list(prompt), [list(thread) for thread in threads]
        work.join(prompt, threads, "</t>", encode, decode)
        assert (prompt, threads) == before, "the prompt or a thread was changed in place"

    as_sampled()
    untouched()

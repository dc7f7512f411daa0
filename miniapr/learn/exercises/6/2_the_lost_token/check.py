"""Every token is in the text once, and what is kept is there."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

tokens = st.lists(st.integers(0, 9), max_size=4)


def check(work: Any) -> None:
    branch = tokens.flatmap(lambda t: st.builds(work.Branch, st.just(t), st.integers(0, len(t))))
    branches = st.lists(branch, min_size=1, max_size=3)

    @given(tokens, branches)
    def nothing_is_lost(prefix: list[int], branches: list[Any]) -> None:
        """The joined text is the prefix and then every token that each branch wrote."""
        true = prefix + [token for branch in branches for token in branch.tokens]
        text, kept, compute = work.rejoin(prefix, branches)
        assert text == true, f"the text is {text}, not {true}"
        assert text[:kept] + compute == true, f"{kept} tokens kept and {compute} computed do not make up {true}"

    @given(tokens, branches)
    def kept_is_there(prefix: list[int], branches: list[Any]) -> None:
        """What is kept has its KV, and nothing that has it is computed again without need."""
        kept, there = work.rejoin(prefix, branches)[1], len(prefix) + branches[0].written
        assert kept <= there, f"{kept} tokens are kept, the KV of {there} is there"
        assert kept == there, f"{kept} tokens are kept, {there} could be"

    nothing_is_lost()
    kept_is_there()

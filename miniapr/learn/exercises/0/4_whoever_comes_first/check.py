from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

texts = st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]]]:
    branches = draw(texts)
    return branches, [draw(st.sets(st.integers(0, 5), max_size=4)) for _ in branches]


def check(work: Any) -> None:
    @given(st.lists(st.integers(0, 9), max_size=6))
    def one_branch(text: list[int]) -> None:
        """One branch is joined as it is."""
        found = work.decode_and_join([text], [set()])
        assert found == text, f"the joined text is {found}, not {text}"

    @given(texts)
    def in_order(branches: list[list[int]]) -> None:
        """The texts stand in the order of the fork, whatever their lengths."""
        found = work.decode_and_join(branches, [set() for _ in branches])
        true = [token for text in branches for token in text]
        assert found == true, f"the joined text is {found}, not {true}"

    @given(cases())
    def paused(case: tuple[list[list[int]], list[set[int]]]) -> None:
        """Pauses change when the text is there, never what it is."""
        branches, pauses = case
        busy = work.decode_and_join(branches, pauses)
        calm = work.decode_and_join(branches, [set() for _ in branches])
        assert busy == calm, f"with pauses the joined text is {busy}, without {calm}"

    one_branch()
    in_order()
    paused()

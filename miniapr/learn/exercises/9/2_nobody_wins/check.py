from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

votes = st.lists(st.sampled_from(["8", "9", "10", None]), max_size=7)
words = st.sampled_from(["", "well, ", "7 + 1 ", "answer: no, wait ", "hm "])


def said(thought: str, vote: str | None) -> str:
    return "hm" if vote is None else f"{thought}answer: {vote}"


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(st.lists(words, min_size=1, max_size=6))
    def one_mind(thoughts: list[str]) -> None:
        """Where all give the same answer, it is the result, however they came to it."""
        found = work.elect([said(thought, "8") for thought in thoughts])
        assert found == "8", f"all answer 8, and the result is {found!r}"

    @settings(max_examples=30)
    @given(votes)
    def silence(cast: list[str | None]) -> None:
        """Who has no answer has no vote."""
        found = work.elect([said("", vote) for vote in cast])
        true = work.elect([said("", vote) for vote in cast if vote is not None])
        assert found == true, f"the result is {found!r}; without those who are silent it is {true!r}"
        assert (found is None) == (set(cast) <= {None}), f"the result is {found!r}"

    @settings(max_examples=30)
    @given(st.lists(st.tuples(words, st.sampled_from(["8", "9", "10"])), min_size=1, max_size=7))
    def most_votes(cast: list[tuple[str, str]]) -> None:
        """The answer with the most votes wins."""
        answers = [vote for _, vote in cast]
        found = work.elect([said(*one) for one in cast])
        most = max(map(answers.count, answers))
        assert answers.count(found) == most, f"the votes are {', '.join(answers)}; the result is {found!r}"

    @given(st.permutations(["8", "9", "10"]))
    def draws(answers: list[str]) -> None:
        """Of answers with equally many votes, the one that was seen first."""
        found = work.elect([said("", vote) for vote in answers])
        assert found == answers[0], f"the votes are {', '.join(answers)}; the result is {found!r}, not {answers[0]!r}"

    one_mind()
    silence()
    most_votes()
    draws()

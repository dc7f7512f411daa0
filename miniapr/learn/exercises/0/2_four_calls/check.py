"""The package's own program, on an engine of its own, is the judge."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import miniapr

AT_ONCE = ("9 6 4 -> 19", "10 5 2 -> 17", "12 3 2 -> 17")
WITH_A_PLAN = ("8 7 3 -> 29", "9 5 4 -> 41", "10 6 4 -> 24", "11 6 2 -> 77")
JOINS = ("stitch", "reprefill")


def check(work: Any) -> None:
    bundle = miniapr.load()
    tokenizer = bundle.tokenizer
    control = miniapr.Control.of(tokenizer, bundle.control)

    def prompt(puzzle: str) -> list[int]:
        return tokenizer.ids(f"<bos> <adaptive> {puzzle} :".split())

    def theirs(puzzle: str, how: str) -> miniapr.Branch:
        branch: miniapr.Branch = work.think(miniapr.Engine(bundle.model, tokenizer), control, prompt(puzzle), how)
        assert isinstance(branch, miniapr.Branch), f"think returned {branch!r}, not a branch"
        return branch

    @cache
    def ours(puzzle: str, how: str) -> miniapr.Branch:
        branch: miniapr.Branch = miniapr.Engine(bundle.model, tokenizer).run(
            miniapr.adaptive(prompt(puzzle), control, how)
        )
        return branch

    @settings(max_examples=4)
    @given(st.sampled_from(AT_ONCE), st.sampled_from(JOINS))
    def at_once(puzzle: str, how: str) -> None:
        """Where the model needs no plan, its text is returned as it is."""
        found, true = theirs(puzzle, how).text, ours(puzzle, how).text
        assert found == true, f"the text ends in {found[-40:]!r}, not in {true[-40:]!r}"

    @settings(max_examples=6)
    @given(st.sampled_from(WITH_A_PLAN), st.sampled_from(JOINS))
    def with_a_plan(puzzle: str, how: str) -> None:
        """The joined branch holds plan, branches and conclusion, at the positions that the join gives."""
        branch, judge = theirs(puzzle, how), ours(puzzle, how)
        ends = branch.text[-40:], judge.text[-40:]
        assert ends[0] == ends[1], f"the text ends in {ends[0]!r}, not in {ends[1]!r}"
        assert branch.text == judge.text, "the text ends well, but before that it is another one"
        assert branch.position == judge.position, f"it ends at position {branch.position}, not {judge.position}"

    @settings(max_examples=4)
    @given(st.sampled_from(WITH_A_PLAN), st.sampled_from(JOINS))
    def side_by_side(puzzle: str, how: str) -> None:
        """The branches are decoded side by side: a forward pass gives each of them a token."""
        found, true = theirs(puzzle, how).request.cost.steps, ours(puzzle, how).request.cost.steps
        assert found == true, f"{found} forward passes, not {true}"

    at_once()
    with_a_plan()
    side_by_side()

"""A run with a clock and a list of tokens is the judge: nothing is added up there, everything is looked up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

small = st.integers(0, 6)
branches = st.lists(st.tuples(small, small), min_size=1, max_size=5)  # (tokens given as a seed, tokens decoded)


class Tokens:
    """Every token of a run, as (position, when it was there)."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int]] = []

    def write(self, position: int, now: int, given: int, decoded: int) -> tuple[int, int]:
        """From a position and a time on; returns both after it."""
        self.all += [(position + i, now) for i in range(given)]
        self.all += [(position + given + i, now + 1 + i) for i in range(decoded)]
        return position + given + decoded, now + decoded


def check(work: Any) -> None:
    def begin(prompt: int, first: int) -> Any:
        return work.decode(work.give(work.Progress(), prompt), first)

    def told(progress: Any) -> dict[str, int]:
        return {"position": progress.position, "path": progress.path, "total": progress.total}

    @given(small, small)
    def one_line(prompt: int, decoded: int) -> None:
        """Without a fork, path and total are what was decoded, and the prompt takes positions only."""
        found, true = told(begin(prompt, decoded)), {"position": prompt + decoded, "path": decoded, "total": decoded}
        assert found == true, f"{found}, not {true}"

    def forked(prompt: int, first: int, seeds: list[tuple[int, int]], overlap: bool) -> tuple[Any, dict[str, int]]:
        parent = begin(prompt, first)
        made = [work.decode(work.give(parent, seed), decoded) for seed, decoded in seeds]
        tokens = Tokens()
        position, now = tokens.write(0, 0, prompt, first)
        at, done = position, now
        for seed, decoded in seeds:
            at, end = tokens.write(position if overlap else at, now, seed, decoded)
            done = max(done, end)
        after = max((place for place, _ in tokens.all), default=-1) + 1
        total = first + sum(decoded for _, decoded in seeds)
        return work.join(parent, made, overlap), {"position": after, "path": done, "total": total}

    @given(small, small, branches)
    def every_token_is_paid_for(prompt: int, first: int, seeds: list[tuple[int, int]]) -> None:
        """The total counts each decoded token once, whatever the join."""
        for overlap in (False, True):
            progress, truth = forked(prompt, first, seeds, overlap)
            assert progress.total == truth["total"], f"total is {progress.total}, not {truth['total']}"

    @given(small, small, branches, st.booleans())
    def branches_run_at_the_same_time(prompt: int, first: int, seeds: list[tuple[int, int]], overlap: bool) -> None:
        """The critical path is the time when the last branch is done, one token of each branch at a time."""
        progress, truth = forked(prompt, first, seeds, overlap)
        assert progress.path == truth["path"], f"path is {progress.path}, not {truth['path']}"

    @given(small, small, branches, st.booleans())
    def the_next_token_stands_after_all_others(
        prompt: int, first: int, seeds: list[tuple[int, int]], overlap: bool
    ) -> None:
        """The next position is the first one that lies behind everything written, overlapping or not."""
        progress, truth = forked(prompt, first, seeds, overlap)
        assert progress.position == truth["position"], f"position is {progress.position}, not {truth['position']}"

    one_line()
    every_token_is_paid_for()
    branches_run_at_the_same_time()
    the_next_token_stands_after_all_others()

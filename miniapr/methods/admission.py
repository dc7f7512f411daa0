"""How many branches go on in a step: as many as the batch has room for, and as the budget can bring to an end.

One more branch makes the step longer for everybody in the batch: TAPER (arXiv 2605.06914) calls that its externality,
and finds both extremes brittle: eager admission is right in an empty engine and wrong in a full one, a fixed cap the
other way round. So a tree always has one branch, and more only from what is left of the batch, its *slack*. Who waits
keeps its keys and values: a width that shrinks frees no memory, and grows again without a prefill.

No engine knows of this: an operation names the branches that it needs, and ``Spend`` names those that are admitted.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..engine.branch import Branch, Tree


@dataclass(eq=False)
class Admission:
    """Of one engine: all programs that share its steps share one of these. Nothing set: eager.

    rows  that a step may have. Beyond the one that each tree has, they go round the trees, the oldest first
    cap   branches of one tree

    Owns what the trees asked for in this step, and what that gives them in the next; a tree that is new has one.
    """

    rows: int | None = None
    cap: int | None = None
    _step: int = -1
    _asked: dict[int, int] = field(default_factory=dict)
    _shares: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("rows", "cap"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"an admission's {name} must be at least 1, is {value}")

    def width(self, tree: Tree, wanted: int, step: int) -> int:
        """How many of the branches that a tree wants to go on with may do so in this step: one at least."""
        wanted = min(wanted, self.cap or wanted)
        if self.rows is None:
            return wanted
        if step != self._step:
            shares = share(list(self._asked.values()), self.rows)
            self._shares = dict(zip(self._asked, shares, strict=True))
            self._step, self._asked = step, {}
        self._asked[tree.id] = wanted
        return min(wanted, self._shares.get(tree.id, 1))


def share(wanted: Sequence[int], rows: int) -> list[int]:
    """So many rows among those who want some: one for each, and of the others one after the other in turn."""
    given = [min(1, want) for want in wanted]
    left = rows - sum(given)
    while left > 0 and (short := [i for i, want in enumerate(wanted) if given[i] < want]):
        for i in short[:left]:
            given[i] += 1
        left -= min(left, len(short))
    return given


def affordable(running: Sequence[Branch], left: int, length: int) -> int:
    """How many of the branches, in order, ``left`` tokens bring to their end: one at least. A branch is expected to
    take as many tokens as those of its tree did that have ended by themselves; before any has, ``length``; and one that
    has taken more, as many again."""
    ended = [len(b.generated) for b in running[0].request.branches if b.completion and b.completion.finish == "stop"]
    expected = round(statistics.mean(ended)) if ended else length
    count = 0
    for branch in running:
        assert branch.goal
        taken = len(branch.generated) - branch.goal.begun
        left -= expected - taken if taken < expected else max(1, taken)
        if left < 0 and count:
            break
        count += 1
    return count


def rows_within(seconds: float, steps: Iterable[tuple[int, float]]) -> int:
    """How many rows a step may have to take at most ``seconds``, by the line through measured steps (rows, seconds):
    what an engine's "step" events tell. Raises ValueError for steps that all have as many rows."""
    rows, times = zip(*steps, strict=True)
    if len(set(rows)) < 2:
        raise ValueError(f"a line needs steps of different sizes, got {len(rows)} of {rows[0]} rows")
    line = statistics.linear_regression(rows, times)
    return max(1, int((seconds - line.intercept) / line.slope)) if line.slope > 0 else max(rows)

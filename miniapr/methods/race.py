"""Methods side by side: the same problems, model, dice and budget for all."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from .budget import Budget
from .method import Method
from .options import read_options
from .outcome import Costs, Outcome
from .play import Runs, play
from .player import Player


@dataclass(frozen=True)
class Entry:
    """A method with what was set of its options; ``name`` tells it from others of the same method."""

    name: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)


def entry(words: str, known: Mapping[str, Method]) -> Entry:
    """From ``name`` or ``name:option=value,option=value``. Raises ValueError for what there is not."""
    name, options = read_options(words, {name: method.options for name, method in known.items()}, "method")
    return Entry(words, known[name], options)


class Standing(Protocol):
    """What the table and the picture of a race show of a method. ``costs``: means by the names of ``Costs``."""

    @property
    def name(self) -> str: ...

    @property
    def judge(self) -> str: ...

    @property
    def accuracy(self) -> float: ...

    @property
    def interval(self) -> tuple[float, float]: ...

    @property
    def costs(self) -> Mapping[str, float]: ...


@dataclass
class Row:
    """What has come of one method so far. Costs are means over its problems."""

    name: str
    judge: str = "-"
    right: int = 0
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def problems(self) -> int:
        return len(self.outcomes)

    @property
    def accuracy(self) -> float:
        return self.right / self.problems if self.outcomes else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy, 95 %."""
        return wilson(self.right, self.problems)

    @property
    def costs(self) -> dict[str, float]:
        count = max(1, self.problems)
        return {f.name: sum(getattr(o.costs, f.name) for o in self.outcomes) / count for f in fields(Costs)}

    @property
    def spent(self) -> int:
        """Problems at which the budget ended it."""
        return sum(outcome.spent for outcome in self.outcomes)

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval
        return {
            "method": self.name,
            "judge": self.judge,
            "problems": self.problems,
            "right": self.right,
            "accuracy": self.accuracy if self.outcomes else None,
            "low": low,
            "high": high,
            "spent": self.spent,
            **self.costs,
            "outcomes": [{"answer": o.answer, "spent": o.spent, **asdict(o.costs)} for o in self.outcomes],
        }


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927), which stays within 0..1 and is honest for small counts."""
    if not count:
        return 0.0, 1.0
    share, z2 = right / count, z * z / count
    middle = (share + z2 / 2) / (1 + z2)
    half = z / (1 + z2) * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def race(
    engine: Runs, entries: Sequence[Entry], player: Player, problems: Sequence[Any], seed: int, budget: Budget
) -> Iterator[Row]:
    """Every method on every problem, problem by problem, so that whoever stops early has a fair part. Gives the row
    that has grown, after each run. Raises ValueError, before anything runs, for what cannot be played."""
    player.require(["exact"])
    assert player.check
    for one in entries if problems else ():
        one.method(problems[0], player, budget, **one.options).close()
    rows = [Row(one.name) for one in entries]
    for number, problem in enumerate(problems):
        dice = seeded(player, seed, number)
        for one, row in zip(entries, rows, strict=True):
            outcome = play(engine, one.method(problem, dice, budget, **one.options), budget)
            assert outcome is not None
            row.outcomes.append(outcome)
            row.judge, row.right = outcome.judge, row.right + player.check(problem, outcome.answer)
            _forget(engine)
            yield row


def _forget(engine: Runs) -> None:
    """The next one shall not find this one's prompt."""
    if hasattr(engine, "kv"):
        engine.kv.flush()


def seeded(player: Player, seed: int, number: int) -> Player:
    """The player with the dice of one problem of a race: the same for every method."""
    return player.seeded(seed * 1_000_003 + number)


def widest(
    engine: Runs,
    method: Method,
    player: Player,
    problems: Sequence[Any],
    budget: Budget,
    stop: Callable[[], bool] = lambda: False,
) -> int | None:
    """The largest ``width`` at which a method's branches come to their end within the budget's tokens, on each of some
    problems that are not raced: by bisection up to the limit on width, so that not even this takes more than a budget a
    try. At least 1, whether it fits or not. None: ``stop`` said so."""

    def fits(width: int) -> bool:
        for number, problem in enumerate(problems):
            outcome = play(engine, method(problem, seeded(player, -1, number), budget, width=width), budget, stop)
            _forget(engine)
            if outcome is None or (outcome.spent and outcome.costs.decoded >= budget.tokens):
                return False
        return True

    low, high = 1, budget.width
    while low < high and not stop():
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return None if stop() else low


def counted(rows: Sequence[Row]) -> str:
    """How many problems the rows have; "1 to 2 problems" where a race was stopped before all had the last one."""
    counts = [row.problems for row in rows] or [0]
    few, many = min(counts), max(counts)
    return f"{few} to {many} problems" if few < many else f"{many} problem{'s' * (many != 1)}"


def reasons(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Methods by why they are not in a race, in a few words: of each error what comes before a semicolon or before
    who needs it, and without the model's name, which is said once for the whole race."""
    found: dict[str, list[str]] = {}
    for name, error in left_out.items():
        found.setdefault(re.sub(r"^the model \S+", "the model", re.split(r";|, which ", error)[0]), []).append(name)
    return found


FRONTIERS = ("critical", "decoded")  # costs that have one: what one waits for, and what is computed


def frontier(rows: Sequence[Standing], cost: str) -> set[str]:
    """Names of those that no rival beats: at least as right for at most the cost, and better in one of them. Rivals
    were told equally much: who is judged by ``exact`` knew what is right, and competes with its like alone. Who is
    never right is on no frontier, however cheap."""

    def beaten(row: Standing) -> bool:
        mine = row.costs[cost], -row.accuracy
        rivals = [(other.costs[cost], -other.accuracy) for other in rows if told(other) == told(row)]
        return any(theirs[0] <= mine[0] and theirs[1] <= mine[1] and theirs != mine for theirs in rivals)

    return {row.name for row in rows if row.accuracy > 0 and not beaten(row)}


def told(row: Standing) -> bool:
    """Whether the one who chose the answer had been told what is right."""
    return row.judge == "exact"

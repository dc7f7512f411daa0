"""The open tasks of `miniapr learn project`: each scores a learner's file, and knows what there is to beat."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

START = Path(__file__).parent / "start"
NAMES = ("join", "reward", "method")


@dataclass(frozen=True)
class Score:
    """What a file came to: its ``cost``, the less the better, and what that is made of, in words."""

    cost: float
    says: str


@dataclass(frozen=True)
class Project:
    """name    as it is asked for; the learner's file has it too
    title   in a line
    text    what to do
    unit    of a cost
    table   what there is to beat: names, and how each is scored
    score   of a learner's file. Raises ValueError with what is wrong with it
    """

    name: str
    title: str
    text: str
    unit: str
    table: dict[str, Callable[[], Score]]
    score: Callable[[Path], Score]

    @property
    def start(self) -> str:
        """What a learner begins with: a file that works, and does what the table does already."""
        return (START / f"{self.name}.py").read_text(encoding="utf-8")


def project(name: str) -> Project:
    """Raises ValueError for a name that is not there."""
    if name not in NAMES:
        raise ValueError(f"no project {name!r}; there are {', '.join(NAMES)}")
    found: Project = importlib.import_module(f"{__name__}.{name}").PROJECT
    return found


def mean_cost(costs: Iterable[float]) -> float:
    """Of problems, rounded: so that a score is the same on another machine, but for what its model says."""
    found = list(costs)
    return round(sum(found) / len(found), 2)

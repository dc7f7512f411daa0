"""What an experiment is: arms that are examined alike, and aims that figures meet or miss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..model.bundle import Bundle
from .arms import Arm
from .report import Found, Report

# Of a model and a number of held-out problems.
Examine = Callable[[Bundle, int], Found]


@dataclass(frozen=True)
class Aim:
    """What ought to come out, if what is claimed holds here.

    says    in words
    value   from the figures of the experiment; None, NaN or a division by zero: they do not tell
    least   the value must reach it
    """

    says: str
    value: Callable[[Report], float | None]
    least: float

    def told(self, report: Report) -> float | None:
        """The value; None where the figures do not tell."""
        try:
            value = self.value(report)
        except ZeroDivisionError:  # a part of what there is none of
            return None
        return value if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class Experiment:
    """name     as the command has it
    claim    what is said in the field, and by whom
    arms     what is compared, each way of making a model with each seed
    examine  how: the same for all, and it can be pickled
    aims     what ought to come out
    exact    what is known without a model, as Markdown; None: nothing
    """

    name: str
    claim: str
    arms: tuple[Arm, ...]
    examine: Examine
    aims: tuple[Aim, ...]
    exact: Callable[[], str] | None = None

    @property
    def levels(self) -> list[list[Arm]]:
        """Arms and what they begin with, in the order in which they can be made: each level from those before."""
        levels: list[list[Arm]] = []
        waiting: dict[str, Arm] = {}
        for arm in self.arms:
            one: Arm | None = arm
            while one:
                waiting.setdefault(one.name, one)
                one = one.begin
        while waiting:
            ready = [arm for arm in waiting.values() if not (arm.begin and arm.begin.name in waiting)]
            levels.append(ready)
            for arm in ready:
                del waiting[arm.name]
        return levels


def seeds(arm: Arm, count: int) -> range:
    """Those with which an arm is made: one where they make no difference."""
    return range(count if arm.seeded else 1)

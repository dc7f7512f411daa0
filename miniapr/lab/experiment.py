"""What an experiment is: arms that differ in one thing, from the same start, and aims that figures meet or miss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.bundle import Bundle
from ..train.practice import Practice, practice

Kinds = Callable[[Bundle], Mapping[str, Practice]]


def easy_and_hard(bundle: Bundle) -> dict[str, Practice]:
    """Problems of two numbers and of three."""
    return {"easy": practice(bundle, counts=(2,)), "hard": practice(bundle, counts=(3,))}


@dataclass(frozen=True)
class Arm:
    """One way of training. ``options``: of ``RLConfig``, beside start and seed."""

    name: str
    options: Mapping[str, Any]
    start: str = "coin"


@dataclass(frozen=True)
class Aim:
    """What ought to come out, if what is claimed holds here.

    says    in words
    value   from the figures of the experiment (see ``Report``); None: they do not tell
    least   the value must reach it
    """

    says: str
    value: Callable[[Any], float | None]
    least: float


@dataclass(frozen=True)
class Experiment:
    """name    as the command has it
    claim   what is said in the field, and by whom
    arms    what is compared
    aims    what ought to come out
    steps   of every arm
    kinds   of problems that are examined, before and after
    """

    name: str
    claim: str
    arms: tuple[Arm, ...]
    aims: tuple[Aim, ...]
    steps: int = 40
    kinds: Kinds = field(default=easy_and_hard)

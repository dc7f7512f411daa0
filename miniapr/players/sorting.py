"""Models that know the roles of sorting: by halves, in line or in threads, and a merge that reads what threads wrote.

multiverse        <sort> 2 , 5 9 ... :  <plan> left right </plan>  threads, which plan in turn  <join> the numbers
graph-of-thoughts the same text, whose threads and merges are written several times; the best of each is kept
apr, recursive    a half is a prompt of its own, and its numbers are what its caller reads of it
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..methods.player import Player, Role
from ..model.bundle import Bundle
from ..tasks.sorting import LARGEST, LEAST, MOST, Numbers, Sorting
from ..tasks.task import Split
from ..tasks.words import CONTROL, PARTS
from .game import Game


@dataclass(frozen=True)
class Half:
    """The part of a list that a thread sorts, and what its plan called it."""

    numbers: Numbers
    name: str


@dataclass(frozen=True)
class Called:
    """A half that is sorted in a context of its own, and in how many upper levels it may call in its turn."""

    numbers: Numbers
    levels: int


Part = Numbers | Half | Called


def sorting_by_halves(bundle: Bundle, temperature: float = 1.0, levels: int = 3) -> Game:
    """``levels``: how many upper ones a plan may fork. Raises ValueError for more than 3, or a model that lacks the
    tokens of the role."""
    task, name = Sorting(levels=levels), f"the model {bundle.name}"
    control = Control.of(bundle.tokenizer, {role: token for role, token in bundle.control.items() if role != "item"})

    def check(problem: Part, answer: str | None) -> bool:
        return task.verify(answer, _numbers(problem)).correct

    def draw(dice: random.Random, count: int | None, split: Split = "pairs") -> Numbers:
        return (Sorting(count, count) if count is not None else task).draw(dice, split)

    def outside(problem: Numbers) -> str | None:
        if LEAST <= len(problem) <= MOST and max(problem) <= LARGEST:
            return None
        return (
            f"{name} was trained to sort {LEAST} to {MOST} numbers of 0 to {LARGEST}; "
            f"these are {len(problem)} of {min(problem)} to {max(problem)}"
        )

    roles = _roles(task, bundle.tokenizer.ids, control)
    if "merge" not in bundle.about.get("roles", bundle.control):
        del roles["apart"]
    return Game(
        Player(name, roles, check, Sampling(temperature=temperature), control),
        lambda problem: " ".join(map(str, problem)),
        draw,
        _given,
        lambda problem, answer: task.verify(answer, problem).reason,
        outside,
        targets=False,
        levels=levels,
    )


def _roles(task: Sorting, ids: Callable[..., list[int]], control: Control) -> dict[str, Role]:
    ends = frozenset((control.eos, control.thread_end))

    def asks(problem: Numbers, levels: int) -> list[int]:
        return ids(Sorting(levels=levels).prompt(problem, "sort").split())

    def within(part: Numbers | Half, levels: int) -> list[int]:
        """A list is put by a prompt, a half by the beginning of its thread."""
        return ids([CONTROL["thread"], part.name]) if isinstance(part, Half) else asks(part, levels)

    def halves(part: Part, text: str) -> list[Half]:
        """Of a text that ends with the plan; of any other, none."""
        numbers = _numbers(part)
        planned = text.split()[-4:] == [CONTROL["plan"], *PARTS, CONTROL["plan_end"]] and len(numbers) > 1
        # As the teacher cuts it: of an odd number the first half has one more.
        cut = (len(numbers) + 1) // 2
        return [Half(*half) for half in zip((numbers[:cut], numbers[cut:]), PARTS, strict=True)] if planned else []

    def told(part: Part, *answers: str) -> list[int]:
        """The prompt of a merge that knows the answers of two halves, and nothing else."""
        return ids(task.merge_prompt(answers, _numbers(part)).split())

    def answer(part: Part, text: str) -> str | None:
        return task.answer(text, _numbers(part))

    def calls(part: Part, text: str) -> list[Called]:
        return [Called(half.numbers, max(0, levels(part) - 1)) for half in halves(part, text)]

    def levels(part: Part) -> int:
        return part.levels if isinstance(part, Called) else task.levels

    def returned(part: Part, call: str, *answers: str) -> list[int]:
        """As if the halves had been threads, read again."""
        words, below = call.split(), str(max(0, levels(part) - 1))
        for half, found in zip(halves(part, call), answers, strict=False):
            given = (half.name, below, ",", *map(str, half.numbers), ":")
            words += [CONTROL["thread"], *given, *found.split(), CONTROL["thread_end"]]
        return ids([*words, CONTROL["join"]])

    return {
        "chain": Role(lambda problem: asks(problem, 0), answer, frozenset((control.eos,))),
        "adaptive": Role(lambda problem: asks(problem, task.levels), answer, control.ends),
        "split": Role(lambda part, depth: within(part, min(int(depth), 3)), halves, ends | {control.plan_end}),
        "sort": Role(lambda part: within(part, 0), answer, ends),
        "merge": Role(lambda part: [control.join], answer, ends),
        "apart": Role(told, lambda part, text: _numbers(part)),
        "parent": Role(lambda part: asks(_numbers(part), levels(part)), answer, frozenset((control.eos,))),
        "child": Role(lambda part: asks(_numbers(part), 0), answer, frozenset((control.eos,))),
        "call": Role(returned, calls),
    }


def _numbers(part: Part) -> Numbers:
    return part.numbers if isinstance(part, Half | Called) else part


def _given(numbers: Any) -> Numbers:
    """Raises ValueError for an empty list, or a number below 0."""
    if not numbers or min(numbers) < 0:
        raise ValueError(f"a list to sort has at least one number, and none below 0; got {list(numbers)}")
    return tuple(numbers)

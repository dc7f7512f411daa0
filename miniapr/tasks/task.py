"""What a way of thinking may ask of a task, and all that it may ask: so no method knows a task, no task a method.

A model that was trained for a task knows it by *roles*: what is wanted of it this time, one control token after the
beginning (``<chain>``, ``<value>``, ...). A task says how a problem is put in a role and reads the text that came back;
what is done with it (sampled often, searched, forked, joined) is the method's business.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

P = TypeVar("P")  # a problem: immutable, compared by what it says

Split = Literal["train", "pairs", "sets"]


@dataclass(frozen=True)
class Verdict:
    """What the verifier found: ``value`` is the answer's exact value where it has one."""

    correct: bool
    reason: str
    value: int | None = None


class Task(Protocol[P]):
    """Problems that can be drawn from a seed, solved and verified exactly."""

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> tuple[str, ...]: ...

    def draw(self, rng: random.Random, split: Split = "pairs") -> P:
        """A solvable problem. "pairs" and "sets" are never trained on."""
        ...

    def solve(self, problem: P) -> str | None:
        """An answer that ``verify`` accepts, None if there is none."""
        ...

    def verify(self, answer: str | None, problem: P) -> Verdict:
        """Whether an answer is right. Never raises: the answer is what a model wrote."""
        ...

    def prompt(self, problem: P, role: str) -> str:
        """The text that puts the problem to a model. Raises ValueError for a role that the task does not have, or
        what the vocabulary cannot say."""
        ...

    def answer(self, text: str, problem: P) -> str | None:
        """The answer that a text ends with, in the form that is verified and voted on; None if it has none."""
        ...


class Searched(Task[P], Protocol[P]):
    """A task that is solved step by step. A state of the search is a problem: what is left to do."""

    def steps(self, state: P) -> dict[str, P]:
        """Every step that can be taken, by the word for it, with the state after it; empty at the end."""
        ...

    def won(self, state: P) -> bool | None:
        """Whether an end is a solution; None where there are steps to take."""
        ...

    def proposed(self, text: str, state: P) -> dict[str, P]:
        """The steps that a text in the role ``propose`` names, in its order; what is no step is left out."""
        ...

    def answer_by(self, path: Sequence[str], problem: P) -> str | None:
        """The answer that the steps of ``path`` come to, from the problem on; None if they do not reach an end."""
        ...


class Divided(Task[P], Protocol[P]):
    """A task whose problems fall into smaller ones of the same kind, the answers of which can be put together."""

    def split(self, problem: P, parts: int) -> list[P]:
        """The problem in parts. Raises ValueError if it has not that many."""
        ...

    def merge_prompt(self, answers: Sequence[str], problem: P) -> str:
        """The text that asks a model to put the answers of two parts together."""
        ...

    def errors(self, answer: str | None, problem: P) -> int:
        """How far an answer is from the right one; 0: it is right."""
        ...

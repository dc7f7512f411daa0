"""A question as a program, for any engine: by control tokens where a model was trained for them, else by prompting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.adaptive import adaptive
from ..methods.grammar import Control
from ..model.bundle import Bundle
from ..tasks.countdown import Problem
from ..tasks.demonstrations import prompt_words


@dataclass(frozen=True)
class Thought:
    """``name``: the question in one line. ``program``: from a join's name to the program."""

    name: str
    program: Callable[[str], Program]


def countdown_thought(bundle: Bundle, problem: Problem, sampling: Sampling, max_tokens: int | None) -> Thought:
    """Raises ValueError for a model without control tokens."""
    control = Control.of(bundle.tokenizer, bundle.control)
    prompt = bundle.tokenizer.ids(prompt_words(problem))
    numbers = " ".join(map(str, problem.descending))
    return Thought(f"{numbers} -> {problem.target}", lambda how: adaptive(prompt, control, how, sampling, max_tokens))


def prompted_thought(talk: Any, question: str, sampling: Sampling, width: int, max_tokens: int) -> Thought:
    """By outline, points and conclusion. ``talk``: how to speak to the model (its tokenizer, or a TextTalk)."""
    from ..methods.skeleton import skeleton

    def program(how: str) -> Program:
        return skeleton(question, talk, how, sampling, width=width, max_tokens=max_tokens)

    return Thought(" ".join(question.split())[:60], program)


def thoughts(
    bundle: Bundle,
    problems: Sequence[Problem],
    prompts: Sequence[str],
    sampling: Sampling,
    width: int,
    max_tokens: int,
) -> list[Thought]:
    """The prompts if there are any, else the problems."""
    if prompts:
        return [prompted_thought(bundle.tokenizer, prompt, sampling, width, max_tokens) for prompt in prompts]
    return [countdown_thought(bundle, problem, sampling, max_tokens) for problem in problems]

"""A question as a program, for any engine: by control tokens where a model was trained for them, else by prompting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.adaptive import adaptive
from ..players import Game


@dataclass(frozen=True)
class Thought:
    """``name``: the question in one line. ``program``: from a join's name to the program. ``answer``: what the
    text that came of it answers, where it is read by a rule."""

    name: str
    program: Callable[[str], Program]
    answer: Callable[[str], str | None] = lambda text: None


def adaptive_thought(game: Game, problem: Any, sampling: Sampling, max_tokens: int | None) -> Thought:
    """Raises ValueError for a model that does not decide by itself whether to fork."""
    game.player.require(("adaptive", "control"))
    prompt, control = game.player["adaptive"].ask(problem), game.player.control
    assert control is not None
    return Thought(
        game.show(problem),
        lambda how: adaptive(prompt, control, how, sampling, max_tokens),
        lambda text: game.player.answer(problem, text, "adaptive"),
    )


def prompted_thought(talk: Any, question: str, sampling: Sampling, width: int, max_tokens: int) -> Thought:
    """By outline, points and conclusion. ``talk``: how to speak to the model (its tokenizer, or a TextTalk)."""
    from ..methods.skeleton import skeleton

    def program(how: str) -> Program:
        return skeleton(question, talk, how, sampling, width=width, max_tokens=max_tokens)

    return Thought(" ".join(question.split())[:60], program)

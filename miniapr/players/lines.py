"""The model that ships as ``countdown``: it searches in line, or writes a plan and searches in threads."""

from __future__ import annotations

import random
from typing import Any

from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..methods.player import Player, Role
from ..model.bundle import Bundle
from ..tasks.countdown import Problem, Ranges, draw, verify
from ..tasks.demonstrations import extract_answer, prompt_words
from ..tasks.task import Split
from .game import Game, beyond, ranges_for


def countdown_in_lines(bundle: Bundle, temperature: float = 1.0) -> Game:
    """Raises ValueError for a model whose control tokens are others."""
    control = Control.of(bundle.tokenizer, bundle.control)

    def asks(mode: str) -> Any:
        return lambda problem: bundle.tokenizer.ids(prompt_words(problem, mode))

    def read(problem: Problem, text: str) -> str | None:
        return extract_answer(text)

    roles = {
        "sequential": Role(asks("sequential"), read, frozenset((control.eos,))),
        "chain": Role(asks("sequential"), read, frozenset((control.eos,))),
        "adaptive": Role(asks("adaptive"), read, control.ends),
    }

    def check(problem: Problem, answer: str | None) -> bool:
        return verify(answer, problem).correct

    name = f"the model {bundle.name}"
    player = Player(name, roles, check, Sampling(temperature=temperature), control)
    ranges = [Ranges(**bundle.about.get("ranges", {}))]

    def drawn(dice: random.Random, count: int | None, split: Split = "pairs") -> Problem:
        return draw(dice, ranges_for(name, ranges, count), split)

    def verdict(problem: Problem, answer: str | None) -> str:
        return verify(answer, problem).reason

    def outside(problem: Problem) -> str | None:
        return beyond(name, ranges, problem)

    return Game(player, _shown, drawn, verdict=verdict, outside=outside)


def _shown(problem: Problem) -> str:
    return f"{' '.join(map(str, problem.descending))} -> {problem.target}"

"""A model whose next word is a function of the words before it: what a method does can be told by hand."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from miniapr.engine.branch import Branch
from miniapr.engine.engine import Engine
from miniapr.methods.budget import Budget
from miniapr.methods.outcome import Outcome
from miniapr.methods.play import play
from miniapr.methods.player import Player, Role
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.ops import reference

VOCAB = 600
END = "."
Script = Callable[[list[str]], str | Mapping[str, float]]


class Words:
    """Words become tokens as they come; a text is words with spaces between them."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def id(self, word: str) -> int:
        if word not in self.words:
            assert len(self.words) < VOCAB
            self.words.append(word)
        return self.words.index(word)

    def encode(self, text: str, start: bool = True) -> list[int]:
        return [self.id(word) for word in text.split()]

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.words[id] if id < len(self.words) else f"#{id}" for id in ids)


@functools.cache
def _model() -> Decoder:
    config = ModelConfig(
        vocab_size=VOCAB,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=4,
        max_position_embeddings=1000,
    )
    return Decoder(config).requires_grad_(False)


class Scripted(Engine):
    """An engine that asks a script instead of a model: it gives the next word, or the probability of each. All else
    is the engine's own: the pool, the tree, the joins, the counts. ``read``: every text that the script was shown."""

    def __init__(self, script: Script, **options: Any) -> None:
        self.words = Words()
        given = {"num_blocks": 300, "block_size": 4, "backend": reference, "record": True, **options}
        super().__init__(_model(), self.words, **given)  # type: ignore[arg-type]
        self.script, self.read = script, list[str]()
        self.runner.forward = self._forward  # type: ignore[method-assign]

    def _forward(self, jobs: Sequence[Any]) -> None:
        """No keys and values are computed: nobody would look at them. They are counted all the same."""
        for job in jobs:
            job.span.written = job.stop
            if job.branch and job.stop == len(job.span.tokens):
                job.branch.logits = self._logits(seen(job.branch))

    def _logits(self, history: Sequence[int]) -> Tensor:
        words = self.words.decode(history).split()
        self.read.append(" ".join(words))
        said = self.script(words)
        chances = {said: 1.0} if isinstance(said, str) else said
        logits = torch.full((VOCAB,), -40.0)
        for word, chance in chances.items():
            logits[self.words.id(word)] = math.log(chance) if chance else -40.0
        return logits

    def play(
        self, method: Any, player: Player, budget: Budget | None = None, problem: Any = None, **options: Any
    ) -> Outcome:
        """To the end, with the pool checked after every step, and nothing held afterwards."""
        budget = budget or Budget(10_000)
        program = method(problem, player, budget, **options)
        outcome = play(self, program, budget, stop=self._check)
        assert outcome is not None
        assert outcome.costs.decoded <= budget.tokens
        self.kv.flush()
        assert self.pool.free == len(self.pool)
        return outcome

    def _check(self) -> bool:
        self.check()
        return False


def seen(branch: Branch) -> list[int]:
    """All tokens that its last one saw, itself included, in the order of its view."""
    span = branch.span
    if span.weave is None:
        return branch.history
    return [token for piece in span.weave.sees(span, len(span.tokens)) for token in piece.tokens]


def role(
    engine: Scripted, ask: Callable[..., str], read: Callable[[Any, str], Any], end: str = END, **more: Any
) -> Role:
    """A role in words: ``end`` ends what is written, and is not part of what is read."""

    def understood(problem: Any, text: str) -> Any:
        return read(problem, text.removesuffix(end).strip())

    return Role(
        lambda problem, *texts: engine.words.encode(ask(problem, *texts)),
        understood,
        frozenset([engine.words.id(end)]),
        **more,
    )

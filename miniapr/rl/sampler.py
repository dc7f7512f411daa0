"""Many problems times many samples at once, in one engine that is given new weights between batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from statistics import mean
from typing import Any

from ..engine.branch import Limits
from ..engine.engine import Engine
from ..engine.operations import Release, Settle, Start
from ..engine.request import Program
from ..model.decoder import Decoder
from ..model.tokenizer import Tokenizer
from ..train.parallel import Team
from .practice import Practice
from .rollouts import Rollout, Watched


class Sampler:
    """Rollouts of one policy. Owns an engine over weights of its own, packed; nothing is recorded.

    ``tokens``: of one rollout, in all its branches.
    """

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer,
        *,
        blocks: int = 8192,
        tokens: int = 600,
        backend: str = "auto",
        max_batch_tokens: int = 8192,
    ) -> None:
        copy = Decoder(model.config).to(model.device, model.dtype).requires_grad_(False)
        copy.load_state_dict(model.state_dict())
        self.limits = Limits(tokens=tokens)
        self.engine = Engine(
            copy.pack(), tokenizer, num_blocks=blocks, backend=backend, max_batch_tokens=max_batch_tokens
        )

    def renew(self, model: Decoder) -> None:
        """Sample from these weights from now on."""
        self.engine.renew(model.state_dict())

    def roll(
        self, practice: Practice, problems: Sequence[Any], samples: int, seed: int = 0, team: Team | None = None
    ) -> list[Rollout]:
        """``samples`` rollouts of each problem, one problem's after the other's. Each process of a team samples those
        of its share of the problems, and of the others gets what a reward looks at. What is sampled depends on the
        weights, the place of the problem and ``seed`` alone. Raises what a program raises."""
        team = team or Team()
        groups = team.share(range(len(problems)))
        self.engine.run(_computed([practice.prompt(problems[group]) for group in groups]))
        watched = []
        for group in groups:
            for sample in range(samples):
                dice = (seed * len(problems) + group) * samples + sample
                watched.append(Watched(practice.think(problems[group], dice)))
        requests = [self.engine.submit(watch.program, self.limits) for watch in watched]
        lines, rollouts = in_line(practice, problems), []
        for number, (request, watch) in enumerate(zip(requests, watched, strict=True)):
            group = groups[number // samples]
            problem, given = problems[group], self.engine.wait(request)
            serial, usual = lines[group]
            rollouts.append(Rollout(problem, watch.root, practice.judge(problem, given), serial, group, usual))
        return exchanged(rollouts, team)


def in_line(practice: Practice, problems: Sequence[Any]) -> list[tuple[int | None, float | None]]:
    """Of each problem what it takes in line, and what those of the batch whose prompts are as long take on average: all
    that can be known of it before it is thought about."""
    lengths = [practice.serial(problem) for problem in problems]
    kinds = [len(practice.prompt(problem)) for problem in problems]
    alike = defaultdict[int, list[int]](list)
    for kind, length in zip(kinds, lengths, strict=True):
        alike[kind] += [] if length is None else [length]
    means = {kind: mean(some) for kind, some in alike.items() if some}
    return [(length, means.get(kind)) for kind, length in zip(kinds, lengths, strict=True)]


def exchanged(mine: list[Rollout], team: Team) -> list[Rollout]:
    """The rollouts of all processes, group after group. Others' are bare: they are learned from where they were
    sampled."""
    if team.size == 1:
        return mine
    by_rank = team.gather([replace(rollout, root=rollout.root.bare) for rollout in mine])
    by_rank[team.rank] = mine
    return sorted(chain(*by_rank), key=lambda rollout: rollout.group)


def _computed(prompts: Sequence[Sequence[int]]) -> Program:
    """Compute prompts, and leave them in the prefix cache: rollouts of one prompt share it."""
    roots = []
    for prompt in prompts:
        roots.append((yield Start(prompt)))
    yield Settle(roots)
    yield Release(roots)

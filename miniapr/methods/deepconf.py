"""DeepConf: votes weighted by how sure the model was, and traces that end early where it is not
(Fu et al. 2025, arXiv 2508.15260)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from ..engine.branch import Branch
from ..engine.request import Program
from .budget import Budget, Spend, Wait
from .judges import MEASURES, confidences, percentile, trace_confidence, vote
from .method import ENGINE, LOGPROBS, method
from .outcome import Outcome
from .player import Player
from .self_consistency import tries

TOP_K = 20


@method(
    "deepconf",
    forks="once",
    sees="the prompt",
    joins="vote",
    needs=("chain",),
    where=ENGINE,
    engine=(LOGPROBS,),
    words={"measure": MEASURES},
    paper="Fu et al. 2025, arXiv 2508.15260",
)
def deepconf(
    problem: Any, player: Player, budget: Budget, width: int = 16, measure: str = "bottom", window: int = 2048
) -> Program:
    """Self-consistency whose votes weigh as much as the model was sure of its words.

    measure  of a whole trace: mean, tail, bottom (the lowest tenth of the sliding means) or lowest
    window   tokens of a sliding mean
    """
    return (yield from _vote(problem, player, budget, width, 0, measure, window, 90.0))


@method(
    "deepconf-online",
    forks="in two waves",
    sees="the prompt",
    joins="vote",
    needs=("chain",),
    where=ENGINE,
    engine=(LOGPROBS,),
    words={"measure": MEASURES},
    sums=("width", "more"),
    paper="Fu et al. 2025, arXiv 2508.15260, section 3.2",
)
def deepconf_online(
    problem: Any,
    player: Player,
    budget: Budget,
    width: int = 16,
    more: int = 16,
    keep: float = 90.0,
    measure: str = "bottom",
    window: int = 2048,
) -> Program:
    """Warm-up traces set a bar; of those that follow, a trace ends as soon as it falls below.

    width, more  traces that warm up, and that follow
    keep         percent of the warm-up whose lowest sliding mean is above the bar: "high" is 90, "low" 10
    """
    return (yield from _vote(problem, player, budget, width, more, measure, window, keep))


def _vote(
    problem: Any, player: Player, budget: Budget, width: int, more: int, measure: str, window: int, keep: float
) -> Program:
    if keep > 100:
        raise ValueError(f"keep is a percentage of at most 100, is {keep}")
    role = player["chain"]
    branches = yield from tries(problem, player, width + more, replace(player.sampling, logprobs=TOP_K))
    ended = yield Spend(branches[:width], role, budget)
    late = branches[width:]
    if late:
        lows = [trace_confidence(_sure(branch), "lowest", window) for branch in branches[:width]]
        bar = percentile(lows, 100 - keep)
        yield Wait(late, branches[:width])
        ended += yield Spend(late, role, budget, cut=lambda running: _below(running, bar, window))
    heard = [branch for branch, done in zip(branches, ended, strict=True) if done.finish != "cut"]
    weights = [trace_confidence(_sure(branch), measure, window) for branch in heard]
    candidates = tuple(player.candidate(problem, b, w) for b, w in zip(heard, weights, strict=True))
    return Outcome(vote(candidates, weights), candidates, "confidence", any(d.finish == "length" for d in ended))


def _sure(branch: Branch) -> list[float]:
    return confidences(branch.generated, TOP_K)


def _below(running: Sequence[Branch], bar: float, window: int) -> Iterable[Branch]:
    """Those whose last full window lies below the bar."""
    for branch in running:
        last = branch.generated[-window:]
        if branch.decoding and len(last) == window and math.fsum(confidences(last, TOP_K)) / window < bar:
            yield branch

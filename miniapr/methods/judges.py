"""Who chooses among candidates: votes, with weights or without, and how sure a model was of its words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..engine.sampling import Token
from .outcome import Candidate, Outcome

FLOOR = -50.0  # a log-probability below it is rounding, or a token that was forbidden


def vote(candidates: Sequence[Candidate], weights: Sequence[float] | None = None) -> str | None:
    """The answer with the most votes, or the most weight; of equals the one seen first. None never wins (a text
    without an answer is no vote), and weights must be finite and not negative, else ValueError."""
    heard: dict[str, float] = {}
    for candidate, weight in zip(candidates, weights or [1.0] * len(candidates), strict=True):
        if not (math.isfinite(weight) and weight >= 0):
            raise ValueError(f"a vote weighs a finite number that is not negative, not {weight}")
        if candidate.answer is not None:
            heard[candidate.answer] = heard.get(candidate.answer, 0.0) + weight
    return max(heard, key=lambda answer: heard[answer], default=None)


def best(candidates: Sequence[Candidate], judge: str, spent: bool = False) -> Outcome:
    """The candidate with the highest score; of equals the first. One that has an answer goes before one without,
    whatever the scores: at the end of a budget something is better than nothing."""

    def rank(candidate: Candidate) -> tuple[bool, float]:
        return candidate.answer is not None, -math.inf if candidate.score is None else candidate.score

    chosen = max(candidates, key=rank, default=None)
    return Outcome(chosen.answer if chosen else None, tuple(candidates), judge, spent)


def likelihood(tokens: Sequence[Token]) -> float:
    """Mean log-probability of what was written: the plainest confidence; that of nothing is -inf. Raises ValueError
    where log-probabilities are not known, as from a server that does not tell."""
    if any(token.logprob is None or math.isnan(token.logprob) for token in tokens):
        raise ValueError("confidence needs the log-probability of every token, which this engine does not tell")
    return math.fsum(max(FLOOR, token.logprob) for token in tokens) / len(tokens) if tokens else -math.inf


def confidences(tokens: Sequence[Token], k: int = 20) -> list[float]:
    """Of each token: minus the mean log-probability of the k likeliest tokens at its place; the more certain the
    place, the higher (DeepConf, Fu et al. 2025, section 2). Raises ValueError without alternatives."""
    if any(not token.alternatives for token in tokens):
        raise ValueError(f"confidence needs the {k} likeliest tokens at every place, which this engine does not tell")
    return [-math.fsum(max(FLOOR, lp) for _, lp in t.alternatives[:k]) / len(t.alternatives[:k]) for t in tokens]


def groups(values: Sequence[float], window: int = 2048) -> list[float]:
    """Sliding means over ``window`` values; of fewer, the one mean of all."""
    if not values:
        return []
    width = min(window, len(values))
    sums = [math.fsum(values[:width])]
    for out, into in zip(values, values[width:], strict=False):
        sums.append(sums[-1] - out + into)
    return [total / width for total in sums]


def trace_confidence(values: Sequence[float], measure: str = "bottom", window: int = 2048) -> float:
    """One number for a whole trace (DeepConf, section 3.1).

    mean    over all tokens
    tail    over the last ``window``
    bottom  over the lowest tenth of the sliding means, at least one
    lowest  the lowest sliding mean
    """
    if measure not in MEASURES:
        raise ValueError(f"no measure is called {measure!r}; there are {', '.join(MEASURES)}")
    if not values:
        return 0.0
    if measure == "tail":
        values = values[-window:]
    if measure in ("mean", "tail"):
        return math.fsum(values) / len(values)
    low = sorted(groups(values, window))
    low = low[: 1 if measure == "lowest" else max(1, len(low) // 10)]
    return math.fsum(low) / len(low)


MEASURES = ("mean", "tail", "bottom", "lowest")


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest. Raises ValueError for no values."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

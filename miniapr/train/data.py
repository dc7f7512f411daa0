"""What the model of the spelled-out format is shown: kinds of problems in shares."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from ..tasks.countdown import Problem, Ranges, draw
from ..tasks.demonstrations import Trajectory, demonstrate, thin
from ..tasks.vocabulary import CONTROL, LIMIT, Vocabulary, build_tokenizer
from .pack import Packer
from .stream import JOINS
from .text import Packed


@dataclass(frozen=True)
class Mixture:
    """Shares of the stream; what is left are hard problems, whose first try misses."""

    two_numbers: float = 0.08
    two_high: int = 1  # their largest number, as a multiple of that of the others
    easy: float = 0.2
    unsolvable: float = 0.03
    sequential: float = 0.2  # of each kind, told in line
    single: float = 1.0  # of the hard ones that only one thread solves, how many are kept
    ties: float = 0.5  # of the winning threads after the first, how many are kept
    every_thread: float = 0.4  # of the forked: all threads kept; otherwise winners and up to three others


class Spelled:
    """Demonstrations in the spelled-out format, drawn by the shares of a mixture."""

    def __init__(self, joins: str, ranges: Ranges, mixture: Mixture) -> None:
        if joins not in JOINS:
            raise ValueError(f"joins is one of {', '.join(JOINS)}, got {joins!r}")
        self.joins, self.ranges, self.mixture = JOINS[joins], ranges, mixture
        self.tokenizer = build_tokenizer()
        self.vocabulary = Vocabulary(self.tokenizer)
        self.packer = Packer(self.vocabulary)
        high, most = mixture.two_high * ranges.high, min(mixture.two_high, 2) * ranges.target_high
        self.two = Ranges(2, ranges.low, min(high, LIMIT), ranges.target_low, min(most, LIMIT))

    @property
    def about(self) -> dict[str, Any]:
        return {"task": "countdown", "control": CONTROL, "limit": LIMIT, "ranges": asdict(self.ranges)}

    def __call__(self, rng: random.Random) -> Packed:
        trajectory = self._trajectory(rng)
        # Drawn whatever the joins are: runs that differ in ``joins`` alone see the same demonstrations.
        drawn = rng.choice(JOINS["both"])
        return self.packer.pack(trajectory, drawn if drawn in self.joins else self.joins[0])

    def _trajectory(self, rng: random.Random) -> Trajectory:
        mix, kind = self.mixture, rng.random()
        mode = "sequential" if rng.random() < mix.sequential else "adaptive"
        if kind < mix.two_numbers:
            return demonstrate(draw(rng, self.two, "train"), mode, self.vocabulary)
        if kind < mix.two_numbers + mix.unsolvable:
            problem = draw(rng, self.ranges, "train", solvable=False)
            return self._thinned(demonstrate(problem, mode, self.vocabulary), rng)
        easy = kind < mix.two_numbers + mix.unsolvable + mix.easy
        problem = self._solvable(rng, easy)
        return self._thinned(demonstrate(problem, mode, self.vocabulary), rng)

    def _solvable(self, rng: random.Random, easy: bool) -> Problem:
        while True:
            problem = draw(rng, self.ranges, "train")
            adaptive = demonstrate(problem, "adaptive", self.vocabulary)
            if easy or not adaptive.threads:
                if easy != bool(adaptive.threads):
                    return problem
                continue
            winners = sum(adaptive.wins)  # none if the only way leads through a number that has no token
            if winners > 1 or (winners == 1 and rng.random() < self.mixture.single):
                return problem

    def _thinned(self, trajectory: Trajectory, rng: random.Random) -> Trajectory:
        if not trajectory.threads or rng.random() < self.mixture.every_thread:
            return trajectory
        winners = [i for i, won in enumerate(trajectory.wins) if won]
        losers = [i for i, won in enumerate(trajectory.wins) if not won]
        least = 0 if winners else 1
        others = rng.sample(losers, min(len(losers), rng.randint(least, 3)))
        # The first winner is the one to conclude with. Others stay often: to choose between two is learned last.
        return thin(
            trajectory, sorted([*winners[:1], *[i for i in winners[1:] if rng.random() < self.mixture.ties], *others])
        )


def is_easy(problem: Problem, vocabulary: Vocabulary) -> bool:
    """Whether the first try hits, so that nothing is worth forking for."""
    return not demonstrate(problem, "adaptive", vocabulary).threads

"""What a finished rollout is paid: every published reward by name, each a page's paragraph and a line of code.

A reward is a function ``(rollout, step) -> float`` of a finished tree and of the step of training, and of nothing else:
a schedule is a function of the step. Whatever has ``correct``, ``critical``, ``total``, ``serial`` and a tree of units
(see ``rollouts.Rollout``) can be paid, whoever sampled it. In the formulas

    C    1 if the task's exact verifier says that the answer is right, else 0
    L    tokens written in all branches (``total``); Lc those of the longest way through the tree (``critical``);
         Ls those of the same problem solved in line (``serial``), Lu those that problems like it take on average
         (``usual``)
    eta  1 - Lc / L: 0 in line, nearing 1 - 1/k for k equal threads

How each is gamed: docs/training/rewards.md.
"""

from __future__ import annotations

import hashlib
import math
import runpy
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from ..methods.options import options_of, read_options
from .rollouts import Rollout, Unit

Reward = Callable[[Rollout, int], float]


def eta(rollout: Rollout) -> float:
    """1 - Lc / L, the part of the tokens that was not waited for. 0 where nothing was written."""
    return 1 - rollout.critical / rollout.total if rollout.total else 0.0


def threads(rollout: Rollout) -> int:
    """Threads of all forks."""
    return sum(len(unit.threads) for unit in rollout.root)


def cut(unit: Unit) -> bool:
    """Whether a text did not come to its end by itself: a limit or somebody else ended it."""
    return unit.finish not in ("", "stop")


def faults(rollout: Rollout) -> list[str]:
    """What is malformed in a tree of plans, threads and joins; empty if nothing is. (Not for programs that never join,
    or are given words without a fork.)"""
    found = ["empty"] if not rollout.total else []
    for unit in rollout.root:
        found += ["cut"] if cut(unit) else []
        found += ["no join"] if unit.threads and unit.then is None else []
        found += ["no threads"] if unit.then and unit.written and not unit.threads and not cut(unit) else []
    return found


# Right or wrong.


def correct(rollout: Rollout, step: int = 0) -> float:
    """C. APR (arXiv 2504.15466): nothing is paid for being parallel; where the window is short that is reason enough.
    All of a rollout has this reward, children too."""
    return float(rollout.correct)


# Right, and sooner: C + C x P.


def ratio(rollout: Rollout, step: int = 0, rho: float = 1.0) -> float:
    """C + C rho eta: the plain ratio, without a clip."""
    return rollout.correct * (1 + rho * eta(rollout))


def thread_weaver(rollout: Rollout, step: int = 0, rho: float = 0.5, clip: float = 0.2) -> float:
    """C + C min(rho eta, clip). ThreadWeaver as the paper has it (arXiv 2512.07843): at most 1.2."""
    return rollout.correct * (1 + min(rho * eta(rollout), clip))


def thread_weaver_code(rollout: Rollout, step: int = 0, rho: float = 0.5, clip: float = 0.2) -> float:
    """C + C rho min(eta, clip). ThreadWeaver as its code has it: at most 1.1, nothing is gained beyond eta = 0.2."""
    return rollout.correct * (1 + rho * min(eta(rollout), clip))


def thread_weaver_readme(rollout: Rollout, step: int = 0, rho: float = 0.5, clip: float = 0.2) -> float:
    """C + rho min(L / Lc - 1, clip). ThreadWeaver as the README of its RL has it: a ratio of costs, and as it is
    written there it is paid for a wrong answer too."""
    return rollout.correct + rho * min(rollout.total / max(1, rollout.critical) - 1, clip)


def relative(rollout: Rollout, step: int = 0, rho: float = 0.5) -> float:
    """C + C rho (1 - Lc / Ls): sooner than in line, not sooner than its own tokens one after the other. A fork that
    does not pay costs, at most rho. Ours. Raises ValueError if Ls is not known."""
    return _relative(rollout, rollout.serial, rho)


def relative_usual(rollout: Rollout, step: int = 0, rho: float = 0.5) -> float:
    """C + C rho (1 - Lc / Lu), else as ``relative``. Whether this one would have been solved at once in line nobody
    knows before; paid by Ls, those that would pull the mean of the ratios down, below what forks save on the whole."""
    return _relative(rollout, rollout.usual, rho)


def _relative(rollout: Rollout, line: float | None, rho: float) -> float:
    if not line:
        raise ValueError("relative to what? The length in line is not known (Rollout.serial, Rollout.usual)")
    return rollout.correct * (1 + rho * max(-1.0, 1 - rollout.critical / line))


def critical_path(rollout: Rollout, step: int = 0, rho: float = 0.5, scale: float = 100.0) -> float:
    """C - C rho min(1, Lc / scale): the absolute critical path, which no useless token makes shorter. ThreadWeaver's
    authors name it as the cure that is hard to normalise; as the measure it is PARL's "critical steps"."""
    return rollout.correct * (1 - rho * min(1.0, rollout.critical / scale))


# Right, and in the right form.


def parallel_r1(rollout: Rollout, step: int = 0, until: float = math.inf) -> float:
    """Parallel-R1 (arXiv 2509.07980), second stage, as its code has it: of every 10 steps 8 pay 1 for right and -1 for
    wrong; 2 pay 1.2 for right with a block, 1 for right without one, and -1 for all else, the right but malformed too.

    until  the step from which on only the answer counts: the bonus taken away (they did at 200, and parallel thinking
           collapsed)
    """
    if step >= until or step % 10 < 8:
        return 1.0 if rollout.correct else -1.0
    if not rollout.correct or faults(rollout):
        return -1.0
    return 1.2 if rollout.forked else 1.0


def parallel_r1_blocks(rollout: Rollout, step: int = 0, weight: float = 0.6) -> float:
    """C (1 + 0.6 log(1 + blocks)) if nothing is malformed, else 0: in Parallel-R1's code, unused (there with a term for
    the format beside it)."""
    blocks = sum(bool(unit.threads) for unit in rollout.root)
    return rollout.correct * (not faults(rollout)) * (1 + weight * math.log1p(blocks))


def parallel_r1_efficiency(rollout: Rollout, step: int = 0) -> float:
    """1 + 0.4 eta if right, -1 + 0.1 eta if wrong: in Parallel-R1's code, unused. Wrong answers are paid for their
    form."""
    return 1 + 0.4 * eta(rollout) if rollout.correct else -1 + 0.1 * eta(rollout)


def npr_zero(rollout: Rollout, step: int = 0) -> float:
    """NPR, first stage (arXiv 2512.07461): a format that fails is graded, from 0 down to -2, and only one that passes
    is paid for its answer, 1 or -1. The grades are ours, on the tree where theirs are on the text: -2 for nothing, -1.5
    for no block, -1 for a plan without threads or a fork without its join, -0.5 for what is cut; they add up."""
    grades = {"empty": 2.0, "no threads": 1.0, "no join": 1.0, "cut": 0.5}
    bad = sum(grades[fault] for fault in faults(rollout)) + (0.0 if rollout.forked else 1.5)
    return max(-2.0, -bad) if bad else npr(rollout)


def npr(rollout: Rollout, step: int = 0) -> float:
    """NPR, third stage (PAPO): 1 or -1 for the answer. Malformed rollouts are taken out of the group there; here they
    are wrong. To go with the advantage ``batch-std``."""
    return 1.0 if rollout.correct and not faults(rollout) else -1.0


# Right, and many at work.


def parl(
    rollout: Rollout,
    step: int = 0,
    parallel: float = 0.2,
    finish: float = 0.2,
    anneal: float = 100.0,
    capacity: int = 8,
) -> float:
    """C + a (parallel min(1, threads / capacity) + finish share) with a = max(0, 1 - step / anneal); ``share`` is that
    of the threads that came to their end by themselves. PARL of Kimi K2.5 (arXiv 2602.02276): the first term against
    serial collapse, the second against threads that are only spawned, both annealed to 0. Its weights and schedule are
    not published, and only its orchestrator is trained."""
    begun = [thread for unit in rollout.root for thread in unit.threads]
    ended = sum(not any(map(cut, thread)) for thread in begun)
    bonus = parallel * min(1.0, len(begun) / capacity) + finish * ended / max(1, len(begun))
    return rollout.correct + max(0.0, 1 - step / anneal) * bonus


def async_think(
    rollout: Rollout, step: int = 0, weight: float = 0.5, capacity: int = 4, most: float = 1.0, penalty: float = -1.0
) -> float:
    """C + weight min(a / capacity, most) / most, where a = L / Lc is the mean number of agents at work along the
    critical path; ``penalty`` for what is malformed, or has more workers than the pool (AsyncThink, arXiv 2510.26658).
    Not gated: wrong answers are paid for company too. The constants are ours."""
    if faults(rollout) or rollout.width > capacity - 1:  # the organizer is one of the agents
        return penalty
    at_work = rollout.total / max(1, rollout.critical)
    return rollout.correct + weight * min(at_work / capacity, most) / most


# What one would try first.


def count_threads(rollout: Rollout, step: int = 0, scale: float = 8.0) -> float:
    """Threads / scale, and nothing else."""
    return threads(rollout) / scale


def correct_and_threads(rollout: Rollout, step: int = 0, rho: float = 0.5, scale: float = 8.0) -> float:
    """C + rho threads / scale, not gated."""
    return rollout.correct + rho * threads(rollout) / scale


def used_structure(rollout: Rollout, step: int = 0) -> float:
    """1 if it forked at all."""
    return float(rollout.forked)


REWARDS: dict[str, Callable[..., float]] = {
    reward.__name__.replace("_", "-"): reward
    for reward in (
        *(correct, ratio, thread_weaver, thread_weaver_code, thread_weaver_readme, relative),
        *(relative_usual, critical_path),
        *(parallel_r1, parallel_r1_blocks, parallel_r1_efficiency, npr_zero, npr, parl, async_think),
        *(count_threads, correct_and_threads, used_structure),
    )
}


def read_reward(spec: str) -> Reward:
    """The reward that is meant by ``NAME``, ``NAME:option=number,...`` or ``FILE.py:NAME``, a function of one's own;
    the file is run. Raises ValueError with what is unknown."""
    name, _, rest = spec.partition(":")
    if name.endswith(".py"):
        return _own(Path(name), rest)
    known = {name: options_of(reward, given=2) for name, reward in REWARDS.items()}
    name, options = read_options(spec, known, "reward")
    return partial(REWARDS[name], **options)


def _own(file: Path, name: str) -> Reward:
    if not file.is_file():
        raise ValueError(f"there is no file {file}: a reward of one's own is FILE.py:NAME")
    try:
        found = runpy.run_path(str(file)).get(name)
    except Exception as error:
        raise ValueError(f"{file} could not be run: {type(error).__name__}: {error}") from error
    if not callable(found):
        has = f"has no function {name!r}" if name else "says which file, and no function in it"
        raise ValueError(f"{file} {has}: a reward of one's own is FILE.py:NAME")
    return found


def source_of(spec: str) -> str | None:
    """A fingerprint of the file that a reward of one's own is in, by which a run knows it again; None: it is one of
    these."""
    name = Path(spec.partition(":")[0])
    return hashlib.sha256(name.read_bytes()).hexdigest()[:16] if name.suffix == ".py" else None


def pay(reward: Reward, rollouts: Sequence[Rollout], step: int = 0) -> list[float]:
    """What each rollout is paid. Raises ValueError naming the first that is paid no finite number, or fails: one NaN
    would be in every weight after the next update."""
    paid = list[float]()
    for number, rollout in enumerate(rollouts):
        told = f"{rollout.problem}, {rollout.total} tokens, {'right' if rollout.correct else 'wrong'}"
        what = f"rollout {number} of step {step} ({told})"
        try:
            value: Any = reward(rollout, step)
        except Exception as error:  # whatever one's own function does
            raise ValueError(f"{what} cannot be paid: {type(error).__name__}: {error}") from error
        if not isinstance(value, Real) or not math.isfinite(value):
            raise ValueError(f"{what} is paid {value!r}, which is no finite number")
        paid.append(float(value))
    return paid

"""What rewards and graders pay for by the letter: on trees and texts made by hand, exact, without a model."""

from __future__ import annotations

import math

import torch

from ..rl.advantages import advantages
from ..rl.rewards import pay, read_reward
from ..rl.rollouts import Rollout, Unit
from ..tasks.countdown import Problem, verify


def text(length: int, *threads: Unit, then: Unit | None = None, finish: str = "stop") -> Unit:
    """So many tokens, and what follows: what they say no reward reads."""
    return Unit((), (0,) * length, threads=threads, then=then, finish=finish)


def tree(*threads: int, before: int = 10, after: int = 10, finish: str = "stop") -> Unit:
    """A fork into threads of these lengths."""
    return text(before, *(text(length, finish=finish) for length in threads), then=text(after))


# By what it is called: the tree that is meant and the one that games it, whether right, and the same in line.
TRICKS: dict[str, tuple[Unit, Unit, bool, int]] = {
    "short threads padded to the longest": (tree(20, 5, 5, 5), tree(20, 20, 20, 20), True, 60),
    "an easy problem forked all the same": (text(6), tree(3, 3, before=5, after=3), True, 6),
    "ten threads that say nothing": (text(60), tree(*[1] * 10, after=60), True, 60),
    "a fork, and a wrong answer": (text(60), tree(20, 20), False, 60),
    "threads that a limit cut": (tree(20, 20), tree(20, 20, finish="length"), True, 60),
}
REWARDS = (
    "correct", "used-structure", "count-threads", "correct-and-threads", "thread-weaver-readme", "ratio",
    "thread-weaver", "relative", "critical-path", "npr-zero",
)  # fmt: skip
# Texts for which graders that collect digits and evaluate what is left have paid in full (systems that are public).
HOLES = (
    ("2**3", Problem((2, 3), 8)),
    ("7//2", Problem((7, 2), 3)),
    ("3.5*2", Problem((3, 5, 2), 7)),
    ("9**9**9", Problem((9, 9, 9), 1)),
    ("5*5", Problem((5, 2), 25)),
)


def paid(reward: str, root: Unit, right: bool, serial: int) -> float:
    return pay(read_reward(reward), [Rollout("", root, right, serial)])[0]


def tricks() -> str:
    """Markdown: what each reward pays for a trick, more than for what was meant; a small bonus over std; graders; a
    reward that is no number."""
    lines = ["What a trick is paid beyond what was meant (by hand, exact; 0 or less: it does not pay).", ""]
    lines += [f"| | {' | '.join(TRICKS)} |", "|" + " --- |" * (1 + len(TRICKS))]
    for reward in REWARDS:
        more = [
            paid(reward, b, right, serial) - paid(reward, a, right, serial) for a, b, right, serial in TRICKS.values()
        ]
        lines.append(f"| `{reward}` | {' | '.join(f'{x:+.2f}' if x else '0' for x in more)} |")
    lines += ["", *_bonus(), "", *_graders(), "", _no_number()]
    return "\n".join(lines)


def _bonus() -> list[str]:
    """A group of all right: what is left of the bonus as an advantage."""
    roots = [text(60), tree(20, 20), tree(20, 20, 20), tree(20, 20, 20, 20)]
    lines = ["A group of four right answers, in line and with 2, 3, 4 threads: the largest advantage."]
    lines += ["", "| reward | r - mean | over std |", "| --- | --- | --- |"]
    for rho in (0.5, 0.02):
        rewards = torch.tensor([[paid(f"ratio:rho={rho}", root, True, 60) for root in roots]], dtype=torch.float64)
        best = [float(advantages(rewards, kind).max()) for kind in ("mean", "std")]
        lines.append(f"| `ratio:rho={rho}` | {best[0]:.4f} | {best[1]:.4f} |")
    return lines


def _graders() -> list[str]:
    lines = ["Answers that careless graders pay for, and what the verifier says.", ""]
    lines += ["| numbers | target | answer | verdict |", "| --- | --- | --- | --- |"]
    for answer, problem in HOLES:
        numbers = " ".join(map(str, problem.numbers))
        lines.append(f"| {numbers} | {problem.target} | `{answer}` | {verify(answer, problem).reason} |")
    return lines


def _no_number() -> str:
    try:
        pay(lambda rollout, step: math.nan, [Rollout("3 4 -> 7", text(5), True)])
    except ValueError as error:
        return f"A reward that is no number stops the run: {error}."
    raise AssertionError("a reward that is no number was paid")

"""Four numbers under a window: children in contexts of their own, one line, and forks that are stitched."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..examine.shares import share
from ..methods.budget import Budget
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks import roles, states
from ..tasks.roles import Teacher
from ..tasks.states import Deck, State
from ..tasks.trace import Trace, Words
from ..train.roles import Recipe
from .arms import Given, Reinforced, Taught
from .experiment import Aim, Experiment
from .report import Found, Report
from .solve import Solved, solve
from .solve import figures as usual
from .starts import ALONE, SMALL

WINDOWS = (128, 256, 512, 1024, 2048)
BUDGET = Budget(tokens=6000)  # the teacher needs 2,300 at most
# By name: a method and its options.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "spawn": ("apr", {}),
    "spawn in two levels": ("apr", {"levels": 2}),
    "line": ("sequential", {}),
    "forks": ("multiverse", {}),
}
FEW = 3
HARD = f", of problems that {FEW} first steps solve at most"


def examine(bundle: Bundle, count: int) -> Found:
    """The same problems of four numbers in every way that the model knows, and as the teacher solves them: as the task
    draws them, and of those that few first steps solve, a quarter as many of each as other experiments have. One run
    tells of all windows: what needs more context than a window has is wrong under it."""
    player, found = game_of(bundle).player, Found()
    for which, problems in drawn(max(1, count // 4)).items():
        for way, (method, options) in WAYS.items():
            if {*METHODS[method].needs} <= {*player.roles, "control"}:
                think = partial(METHODS[method], **options)
                found[way + which] = figures(solve(bundle, player, think, problems, BUDGET))
        found[f"teacher's line{which}"] = figures([by_teacher(problem) for problem in problems])
    return found


def drawn(count: int) -> dict[str, list[State]]:
    """Held-out problems by what is said behind a way's name."""
    dice, deck = random.Random("lab"), Deck(Recipe().ranges_of_four)
    plain = [deck.draw(dice, True, "pairs") for _ in range(count)]
    few: list[State] = []
    while len(few) < count:
        problem = deck.draw(dice, True, "pairs")
        few += [problem] if first_steps(problem) <= FEW else []
    return {"": plain, HARD: few}


def by_teacher(problem: State) -> Solved:
    """A search from first to last: always right, if there is room."""
    trace: Trace = roles.sequential(problem)
    written = len(trace.written)
    return Solved(True, len(trace.given) + written - 1, written, written)


def by_calling(problem: State) -> int:
    """The largest context of a parent that calls a child for every step, and of its children."""
    parent, below = roles.parent(problem, Teacher(partial=0.0), random.Random(0)), states.steps(problem)
    assert parent.then
    children = [roles.child(problem, step) for step in below]
    frames: list[tuple[Words, ...]] = [(parent.given, parent.written, parent.then.given, parent.then.written)]
    frames += [(child.given, child.written) for child in children]
    return max(sum(map(len, frame)) for frame in frames) - 1


def first_steps(problem: State) -> int:
    """How many of the first steps lead to the target."""
    return sum(bool(states.paths(below)) for below in states.steps(problem).values())


def bounds(count: int = 500) -> str:
    """How many problems a faultless search could solve under each window, whatever the model."""
    problems = drawn(count)
    ways = {
        "line": [by_teacher(problem).context for problem in problems[""]],
        "parent and children": [by_calling(problem) for problem in problems[""]],
        f"line{HARD}": [by_teacher(problem).context for problem in problems[HARD]],
    }
    lines = [f"| a faultless search, {count} problems, % | {' | '.join(map(str, WINDOWS))} | largest |"]
    lines.append("|" + " --- |" * (len(WINDOWS) + 2))
    for way, sizes in ways.items():
        within = [f"{sum(size <= window for size in sizes) / len(sizes):.1%}".rstrip("%") for window in WINDOWS]
        lines.append(f"| {way} | {' | '.join(within)} | {max(sizes)} |")
    return "\n".join(lines)


def figures(solved: Sequence[Solved]) -> dict[str, Any]:
    within = {
        f"right in {window}": share([one.right and one.context <= window for one in solved]) for window in WINDOWS
    }
    return {**usual(solved), **within}


def from_three(name: str, **shares: float) -> Taught:
    """Goes on from the model that ships, with four numbers alone. A few paths, or it would lose its voices."""
    recipe = Recipe(replace(ALONE, adaptive=0.0, path=0.01, **shares), Teacher(), four=0.5, four_in_line=1.0, two=0.0)
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 352, "layers": 4, "heads": 4}
    fall: dict[str, Any] = {"tokens": 1_500_000, "constant": 0.0, "muon_rate": 0.01, "adam_rate": 2e-3}
    return Taught(name, replace(SMALL, roles=recipe, **sizes, **fall), begin=Given("countdown", "countdown"))


def rewarded(begin: Taught, method: str) -> Reinforced:
    """A short run for right answers alone, at a fifth of the usual rate: at that a model of this size forgets."""
    options = {"reward": "correct", "method": method, "counts": (4,), "tokens": BUDGET.tokens, "rate": 1e-4}
    return Reinforced(f"{begin.name}-rl", {**options, "prompts": 4, "samples": 8, "steps": 15}, begin)


SPAWN, LINE = from_three("taught-spawn", parent=0.4, child=0.6), from_three("taught-line", sequential=1.0)


def ahead(report: Report, arm: str, other: str, way: str, which: str = "", window: int = 256) -> float:
    """Right within a window: an arm that spawns, minus another in its way."""
    figure = f"right in {window}"
    return report.mean(arm, f"spawn{which}", figure) - report.mean(other, way + which, figure)


def gain(report: Report, arm: str, way: str) -> float:
    return report.mean(f"{arm}-rl", way, "right in 256") - report.mean(arm, way, "right in 256")


WINDOW = Experiment(
    "window",
    "APR (arXiv 2504.15466): at a window of 4,096 tokens spawned children reach 83 % where a serial search reaches "
    "60 %, since no context holds more than a part of the search; in tokens they cost as much; and reinforcement makes "
    "both better. Here four numbers of 1..10: eighteen children, each a problem of three numbers in a context of its "
    "own, which tells it in a line or, in two levels, calls in its turn; one line; and stitched forks, whose "
    "conclusion attends to all of them. A model that was not shown lines of four numbers writes one try, a chain.",
    (
        Given("shipped", "countdown"),
        SPAWN,
        LINE,
        rewarded(SPAWN, "apr"),
        rewarded(LINE, "sequential"),
    ),
    examine,
    (
        Aim(
            "window of 256: the model that ships by spawning, minus the bound of the line (a faultless search)",
            lambda r: ahead(r, "shipped", "shipped", "teacher's line"),
            0.18,
        ),
        Aim("the same at 512", lambda r: ahead(r, "shipped", "shipped", "teacher's line", window=512), 0.18),
        Aim(
            "window of 256: spawning minus the line, both taught as much",
            lambda r: ahead(r, "taught-spawn", "taught-line", "line"),
            0.18,
        ),
        Aim(
            "window of 256: spawning, taught so, minus the bound of the line",
            lambda r: ahead(r, "taught-spawn", "taught-spawn", "teacher's line"),
            0.18,
        ),
        Aim(
            f"the same{HARD}: minus the line",
            lambda r: ahead(r, "taught-spawn", "taught-line", "line", HARD),
            0.18,
        ),
        Aim(
            f"the same{HARD}: minus the bound of the line",
            lambda r: ahead(r, "taught-spawn", "taught-spawn", "teacher's line", HARD),
            0.18,
        ),
        Aim(
            "critical path of spawning, shorter than the teacher's line by",
            lambda r: 1 - r.mean("shipped", "spawn", "critical") / r.mean("shipped", "teacher's line", "critical"),
            0.5,
        ),
        Aim(
            "window of 128: the model that ships by spawning in two levels, minus the bound of the line",
            lambda r: (
                r.mean("shipped", "spawn in two levels", "right in 128")
                - r.mean("shipped", "teacher's line", "right in 128")
            ),
            0.18,
        ),
        Aim("reinforced: what spawning gains within 256", lambda r: gain(r, "taught-spawn", "spawn"), 0.03),
        Aim("reinforced: what the line gains within 256", lambda r: gain(r, "taught-line", "line"), 0.03),
    ),
    bounds,
)

"""Four numbers under a window: children in contexts of their own, one line, and forks that are stitched."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..engine.engine import Engine
from ..methods.budget import Budget
from ..methods.play import play
from ..methods.player import Player, Role
from ..methods.table import METHODS
from ..model.bundle import Bundle
from ..players.choose import game_of
from ..tasks import roles, states
from ..tasks.roles import Teacher
from ..tasks.states import Deck, State
from ..tasks.terse import Countdown
from ..tasks.trace import Trace, Words
from ..train.roles import Recipe
from ..train.shares import share
from .arms import Given, Taught
from .experiment import Aim, Experiment
from .report import Found
from .starts import ALONE, SMALL

WINDOWS = (128, 256, 512, 1024, 2048)
BUDGET = Budget(tokens=6000)  # the teacher needs 2,300 at most
WAYS = {"spawn": "apr", "line": "sequential", "forks": "multiverse"}


def examine(bundle: Bundle, count: int) -> Found:
    """The same problems of four numbers in every way that the model was taught, and as the teacher solves them: a
    quarter as many as other experiments have. One run of each tells of all windows: what needs more context than a
    window has is wrong under it."""
    dice, game = random.Random("lab"), game_of(bundle)
    assert game.draw
    problems = [game.draw(dice, 4) for _ in range(max(1, count // 4))]
    player = with_lines(game.player, bundle)
    found = Found()
    for way, method in WAYS.items():
        if {*METHODS[method].needs} <= {*player.roles, "control"}:
            found[way] = figures([run(bundle, player, method, problem) for problem in problems])
    found["teacher's line"] = figures([by_teacher(problem) for problem in problems])
    return found


def with_lines(player: Player, bundle: Bundle) -> Player:
    """The player whose one line of thought is that of a search, if it was taught any."""
    known = {name: role for name, role in player.roles.items() if name != "chain"}
    if "sequential" in bundle.about.get("roles", ()):
        known["chain"] = Role(
            lambda problem: bundle.tokenizer.ids(roles.prompt(problem, "sequential")),
            lambda problem, text: Countdown().answer(text, problem),
            frozenset((bundle.tokenizer.id(bundle.control["eos"]),)),
        )
    return replace(player, roles=known)


def run(bundle: Bundle, player: Player, method: str, problem: State) -> tuple[bool, int, int, int]:
    """Greedily: whether it is right, the largest context, the critical path and all tokens."""
    engine = Engine(bundle.model, bundle.tokenizer, num_blocks=2048)
    outcome = play(engine, METHODS[method](problem, player, BUDGET), BUDGET)
    assert outcome and player.check
    costs = outcome.costs
    return player.check(problem, outcome.answer), costs.largest_context, costs.critical, costs.decoded


def by_teacher(problem: State) -> tuple[bool, int, int, int]:
    """A search from first to last: always right, if there is room."""
    trace: Trace = roles.sequential(problem)
    written = len(trace.written)
    return True, len(trace.given) + written - 1, written, written


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
    dice, deck = random.Random("lab"), Deck(Recipe().ranges_of_four)
    problems = [deck.draw(dice, True, "pairs") for _ in range(count)]
    ways = {
        "line": [by_teacher(problem)[1] for problem in problems],
        "parent and children": [by_calling(problem) for problem in problems],
    }
    hard = [size for size, problem in zip(ways["line"], problems, strict=True) if first_steps(problem) <= 3]
    ways["line, of those that three first steps solve at most"] = hard
    lines = [f"| a faultless search, {count} problems, % | {' | '.join(map(str, WINDOWS))} | largest |"]
    lines.append("|" + " --- |" * (len(WINDOWS) + 2))
    for way, sizes in ways.items():
        within = [f"{sum(size <= window for size in sizes) / len(sizes):.1%}".rstrip("%") for window in WINDOWS]
        lines.append(f"| {way} | {' | '.join(within)} | {max(sizes)} |")
    return "\n".join(lines)


def figures(runs: Sequence[tuple[bool, int, int, int]]) -> dict[str, Any]:
    right, context, critical, tokens = zip(*runs, strict=True)
    within = {
        f"right in {window}": share([good and size <= window for good, size in zip(right, context, strict=True)])
        for window in WINDOWS
    }
    return {
        "right": share(right),
        **within,
        "largest context": round(statistics.mean(context), 1),
        "critical": round(statistics.mean(critical), 1),
        "tokens": round(statistics.mean(tokens), 1),
    }


def from_three(name: str, **shares: float) -> Taught:
    """Goes on from the model that ships, with four numbers alone. A few paths, or it would lose its voices."""
    recipe = Recipe(replace(ALONE, adaptive=0.0, path=0.01, **shares), Teacher(), four=0.5, four_in_line=1.0, two=0.0)
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 352, "layers": 4, "heads": 4}
    fall: dict[str, Any] = {"tokens": 1_500_000, "constant": 0.0, "muon_rate": 0.01, "adam_rate": 2e-3}
    return Taught(name, replace(SMALL, roles=recipe, **sizes, **fall), begin=Given("countdown", "countdown"))


WINDOW = Experiment(
    "window",
    "APR (arXiv 2504.15466): at a window of 4,096 tokens spawned children reach 83 % where a serial search reaches "
    "60 %, since no context holds more than a part of the search; in tokens they cost as much. Here "
    "four numbers of 1..10: eighteen children, each a problem of three numbers in a context of its own; one line; and "
    "stitched forks, whose conclusion attends to all of them.",
    (
        Given("shipped", "countdown"),
        from_three("taught-spawn", parent=0.4, child=0.6),
        from_three("taught-line", sequential=1.0),
    ),
    examine,
    (
        Aim(
            "window of 256: the model that ships by spawning, minus the bound of the line (a faultless search)",
            lambda r: r.mean("shipped", "spawn", "right in 256") - r.mean("shipped", "teacher's line", "right in 256"),
            0.18,
        ),
        Aim(
            "the same at 512",
            lambda r: r.mean("shipped", "spawn", "right in 512") - r.mean("shipped", "teacher's line", "right in 512"),
            0.18,
        ),
        Aim(
            "window of 256: spawning minus the line, both taught as much",
            lambda r: r.mean("taught-spawn", "spawn", "right in 256") - r.mean("taught-line", "line", "right in 256"),
            0.18,
        ),
        Aim(
            "critical path of spawning, shorter than the teacher's line by",
            lambda r: 1 - r.mean("shipped", "spawn", "critical") / r.mean("shipped", "teacher's line", "critical"),
            0.5,
        ),
    ),
    bounds,
)

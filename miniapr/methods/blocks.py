"""Models that fork by themselves: they write a plan, the plan becomes threads, the threads become one text again.

Five published systems are this one program with other rules. What they call their tokens is the player's ``Control``:

    here         Multiverse       ThreadWeaver   Parallel-R1   NPR
    plan         <Goal>           <Outlines>     <Parallel>    <guideline>
    item         <Outline>        <Outline>      -             <plan>
    plan_end     </Goal>          </Outlines>    -             </guideline>
    thread       <Path>           <Thread>       <Path>        <step>
    thread_end   </Path>          </Thread>      </Path>       </step>
    join         <Conclusion>     -              <Summary>     <takeaway>
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..engine.branch import Branch
from ..engine.operations import All, Start
from ..engine.request import Program
from .budget import Budget, Spend
from .grammar import read_plan
from .judges import best
from .method import SERVER, TRAINED, method
from .moves import append, fork, join
from .options import WHOLE
from .player import Player, Role

MODEL = {"sees": "all before", "words": {"join": WHOLE}}
PLANS = {**MODEL, "forks": "model: plan", "needs": ("adaptive", "control")}


@dataclass(frozen=True)
class Rules:
    """join     how threads become one
    width    threads of a plan; what is beyond is ignored
    paths    the plan is not written: its opening alone forks into so many threads, which differ by sampling
    nested   a plan inside of a thread is followed; else it is text
    blocks   plans of one line that are followed; None: all
    strict   a plan that cannot be followed ends the line; else the line goes on to its conclusion
    whole    a thread that is cut short ends the line after its join
    reserve  tokens of the budget that must be left for more than them, or no plan is followed
    """

    join: str
    width: int
    paths: int | None = None
    nested: bool = True
    blocks: int | None = None
    strict: bool = False
    whole: bool = False
    reserve: int = 0


@method(
    "multiverse", joins="stitch", positions="shared", where=TRAINED, paper="Yang et al. 2025, arXiv 2506.09991", **PLANS
)
def multiverse(problem: Any, player: Player, budget: Budget, width: int = 24, join: str = "stitch") -> Program:
    """Plan, paths, conclusion, nested and in sequence; finished paths wait with their keys and values, which the
    conclusion attends to as they are."""
    return (yield from _write(problem, player, budget, Rules(join, width)))


@method("threadweaver", joins="reprefill", where=SERVER, paper="Lian et al. 2025, arXiv 2512.07843", **PLANS)
def threadweaver(
    problem: Any, player: Player, budget: Budget, width: int = 24, blocks: int = 32, join: str = "reprefill"
) -> Program:
    """The client of a completions server: threads are requests, and the text of all is prefilled again. One level; a
    thread that is cut short is closed, and ends the whole after its join.

    blocks  plans that are followed, one after the other. After them, and with 0 from the beginning, the same weights go
            on in line and plans and threads are text: the hybrid that was published
    """
    return (yield from _write(problem, player, budget, Rules(join, width, nested=False, blocks=blocks, whole=True)))


@method(
    "parallel-r1",
    forks="model: when",
    joins="reprefill",
    needs=("paths", "control"),
    where=SERVER,
    paper="Zheng et al. 2025, arXiv 2509.07980",
    **MODEL,
)
def parallel_r1(problem: Any, player: Player, budget: Budget, width: int = 2, join: str = "reprefill") -> Program:
    """The model says when, not into what: at its token a fixed number of paths begins, equal but for their dice. At
    most 4 blocks. The player's "paths" is the role of such a model."""
    rules = Rules(join, width, paths=width, nested=False, blocks=4)
    return (yield from _write(problem, player, budget, rules, "paths"))


@method("npr", joins="stitch", positions="shared", where=TRAINED, paper="arXiv 2512.07461", **PLANS)
def npr(
    problem: Any, player: Player, budget: Budget, width: int = 5, depth: int = 5, reserve: int = 0, join: str = "stitch"
) -> Program:
    """Multiverse with guard rails, for reinforcement learning: at most 5 steps a plan, 5 levels, and a malformed plan
    ends the line instead of being repaired.

    reserve  no fork unless more than so many tokens are left; published are 1024, of 30,000
    """
    budget = replace(budget, depth=min(depth, budget.depth))
    return (yield from _write(problem, player, budget, Rules(join, width, strict=True, reserve=reserve)))


def _write(problem: Any, player: Player, budget: Budget, rules: Rules, name: str = "adaptive") -> Program:
    role = player[name]
    root = yield Start(role.ask(problem), player.sampling if rules.paths else player.greedy)
    yield from _Line(role, player, budget, rules).write(root)
    return best([player.candidate(problem, root, role=name)], "none", spent=not budget.left(root.request))


class _Line:
    """Writes one line, the root's or a thread's, with all that forks from it."""

    def __init__(self, role: Role, player: Player, budget: Budget, rules: Rules) -> None:
        assert player.control
        self.control, self.budget, self.rules = player.control, budget, rules
        self.opening = self.control.plan if rules.paths else self.control.plan_end
        self.base = role

    def role(self, branch: Branch, follows: bool) -> Role:
        """How a branch writes: to the end of its text, a thread's or the whole; if plans are followed, to the next."""
        ends = {self.control.eos, self.control.thread_end} if branch.depth else {self.control.eos}
        return replace(self.base, ends=frozenset(ends | {self.opening} if follows else ends))

    def write(self, branch: Branch) -> Program:
        """To the end. Gives whether it came there by itself."""
        blocks = 0
        while True:
            follows = (self.rules.nested or not branch.depth) and blocks != self.rules.blocks
            (done,) = yield Spend([branch], self.role(branch, follows), self.budget)
            if done.finish != "stop" or branch.tokens[-1] != self.opening or not follows:
                return done.finish == "stop"
            blocks += 1
            threads = yield from self.fork(branch)
            if not threads:
                if self.rules.strict or not (yield from append(branch, self.control.join)):
                    return False
                continue
            whole = yield All([self.thread(thread) for thread in threads])
            if not (yield from join(branch, threads, self.rules.join, (self.control.join,))):
                return False
            if self.rules.whole and not all(whole):
                return False

    def fork(self, branch: Branch) -> Program:
        """Into the items of the plan, or into equal paths; none if the plan cannot be followed."""
        begin: tuple[int, ...] = (self.control.thread,)
        items = read_plan(branch.tokens, self.control, self.rules.width).items
        seeds = [begin] * self.rules.paths if self.rules.paths else [begin + item for item in items]
        may = branch.depth < self.budget.depth and self.budget.left(branch.request) > self.rules.reserve
        return (yield from fork(branch, seeds)) if seeds and may else []

    def thread(self, branch: Branch) -> Program:
        """A thread that is cut short is closed, so that what is joined is well formed."""
        whole = yield from self.write(branch)
        if branch.state == "alive" and branch.tokens[-1] != self.control.thread_end:
            yield from append(branch, self.control.thread_end)
        return whole

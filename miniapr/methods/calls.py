"""Calls: a model hands parts of its problem to copies of itself, each in a context of its own, and goes on with what
they return. What they wrote on their way is dropped.

    parent   problem : ... <call a b>                                      parent   problem : ... A B <returned> ...
    child                              a : ... returns A      (message)
    child                              b : ... returns B

Two published systems are this one program with other rules. The player's roles for it:

    parent   ask(part) the whole context of a frame that may call; read(part, text) what it returns: of the problem
             itself the answer. It ends at the tokens that close a call or open a block of what was returned
    child    the same of a frame that may not
    call     read(part, text of a call) the parts that it names; ask(part, text of the call, *returned) what stands in
             its place. As far as that begins like the call, nothing is taken back and nothing computed again
    counted  ask(part, number) the prompt of a parent that is told how many children to call
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

from ..engine.branch import Branch
from ..engine.joins import message
from ..engine.operations import All, Start
from ..engine.request import Program
from .budget import Budget, Spend, Wait
from .judges import best
from .method import SERVER, method
from .moves import fork, join, rewrite
from .player import Player

ROW = {
    "forks": "model: calls",
    "joins": "message",
    "sees": "its part",
    "positions": "from 0",
    "needs": ("parent", "child", "call", "control"),
    "where": SERVER,
}


@dataclass(frozen=True)
class Rules:
    """levels    calls inside of calls. Who is called on the last level is a "child", who is called above it a "parent"
    width     parts of one call; what is beyond is ignored
    together  the parts are solved at the same time; else one after the other
    calls     of one frame; one more ends it
    """

    levels: int
    width: int
    together: bool = True
    calls: int = 32


@method("apr", paper="Pan et al. 2025, arXiv 2504.15466", **ROW)
def apr(
    problem: Any, player: Player, budget: Budget, width: int = 24, levels: int = 1, children: int | None = None
) -> Program:
    """Spawn and join: children think at the same time, and their messages replace the call that spawned them.

    levels    as published 1: children do not spawn
    children  how many a parent is told to spawn; the published models were trained with the number before the prompt.
              None: as many as it likes
    """
    player.require(["counted"] if children else [])
    asked = player["counted"].ask(problem, str(children)) if children else player["parent"].ask(problem)
    return (yield from _run(problem, asked, player, budget, Rules(levels, children or width)))


@method("recursive", paper="arXiv 2603.02112", **ROW)
def recursive(problem: Any, player: Player, budget: Budget, width: int = 24, levels: int = 2) -> Program:
    """A recursive model: call and return, one after the other, as deep as ``levels``. Only the frame on top is
    attended to, so the largest context stays that of one frame, however much is written in all."""
    rules = Rules(levels, width, together=False)
    return (yield from _run(problem, player["parent"].ask(problem), player, budget, rules))


def _run(problem: Any, asked: Sequence[int], player: Player, budget: Budget, rules: Rules) -> Program:
    root = yield Start(asked, player.greedy)
    yield from _Frames(player, budget, rules).write(root, problem, 0)
    return best([player.candidate(problem, root, role="parent")], "none", spent=not budget.left(root.request))


class _Frames:
    """Writes frames, each with all that it calls."""

    def __init__(self, player: Player, budget: Budget, rules: Rules) -> None:
        assert player.control
        self.player, self.budget, self.rules, self.control = player, budget, rules, player.control
        ends = player["parent"].ends | {self.control.plan_end, self.control.join}
        self.roles = {"parent": replace(player["parent"], ends=ends), "child": player["child"]}

    def kind(self, level: int) -> str:
        return "parent" if level < self.rules.levels else "child"

    def write(self, branch: Branch, part: Any, level: int) -> Program:
        """To the end of the frame. Gives its words."""
        begun, calls, control = len(branch.history), 0, self.control
        while True:
            (done,) = yield Spend([branch], self.roles[self.kind(level)], self.budget)
            history = branch.history
            last = history[-1] if done.finish == "stop" and self.kind(level) == "parent" else None
            if last == control.join:
                # What children returned is not for the parent to write: it meant to call (Pan et al. 2025, the code).
                on = yield from rewrite(branch, len(history) - 1, (control.plan,))
            elif last == control.plan_end and calls < self.rules.calls:
                calls += 1
                on = yield from self.call(branch, part, begun, level)
            else:
                on = False
            if not on:
                return branch.request.tokenizer.decode(branch.history[begun:])

    def call(self, branch: Branch, part: Any, begun: int, level: int) -> Program:
        """Call, wait, and go on with what was returned; of a call that names nothing, with nothing. Gives whether
        there was room for it."""
        history = branch.history
        openings = [place for place in range(begun, len(history)) if history[place] == self.control.plan]
        begin = openings[-1] if openings else len(history) - 1
        said, role = branch.request.tokenizer.decode(history[begin:]), self.player["call"]
        parts = list(role.read(part, said))[: self.rules.width]
        asked = [self.player[self.kind(level + 1)].ask(below) for below in parts]
        children: list[Branch] = (yield from fork(branch, asked, keep=0)) if asked else []
        returned = yield from self.answers(list(zip(children, parts, strict=False)), level + 1)
        block = role.ask(part, said, *returned)
        same = sum(1 for _ in takewhile(bool, (a == b for a, b in zip(history[begin:], block, strict=False))))
        keep, then = begin + same, block[same:]
        if not children:
            return (yield from rewrite(branch, keep, then))
        return (yield from join(branch, children, message(then, keep)))

    def answers(self, called: Sequence[tuple[Branch, Any]], level: int) -> Program:
        """What the children return, in order."""
        if self.rules.together:
            return (yield All([self.answer(child, part, level) for child, part in called])) if called else []
        returned: list[str] = []
        for number, (child, part) in enumerate(called):
            yield Wait([child], [one for one, _ in called[:number]])
            returned.append((yield from self.answer(child, part, level)))
        return returned

    def answer(self, child: Branch, part: Any, level: int) -> Program:
        """Of a child that has none: nothing, in words."""
        text = yield from self.write(child, part, level)
        found = self.player[self.kind(level)].read(part, text)
        return "" if found is None else str(found)

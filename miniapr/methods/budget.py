"""What a method may spend, and the one operation by which it spends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.branch import Branch, Limits, Tree
from ..engine.operations import Decode
from ..engine.request import Machine, Operation
from .admission import Admission, affordable

if TYPE_CHECKING:
    from .player import Role


@dataclass(frozen=True)
class Budget:
    """The same for every method.

    tokens    decoded in all branches together, for whatever purpose: tries, values, votes, conclusions
    critical  decoded one after the other; None: as many as there are
    width     branches of one fork
    depth     forks inside forks
    length    tokens that a branch is expected to take: then only so many go on at once as can be brought to an end
    admission who may go on in a step, where many programs share an engine; None: all
    """

    tokens: int = 1000
    critical: int | None = None
    width: int = 64
    depth: int = 64
    length: int | None = None
    admission: Admission | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "critical", "width", "depth", "length"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"the budget's {name} must not be negative, is {getattr(self, name)}")

    @property
    def limits(self) -> Limits:
        """As the engine knows them."""
        return Limits(self.tokens, self.width, self.depth)

    def left(self, request: Tree) -> int:
        """Tokens that may still be decoded."""
        return max(0, min(self.tokens, request.limits.tokens) - request.cost.decoded)


class Spend(Decode):
    """Decode as a role wants it, and not one token beyond the budget, however many branches decode at once: where
    fewer tokens are left than branches, the last of them end now, with what they have.

    cut  asked after every step which of the branches are given up; they finish as "cut" and let go of their blocks
    """

    def __init__(
        self,
        branches: Sequence[Branch],
        role: Role,
        budget: Budget,
        cut: Callable[[Sequence[Branch]], Iterable[Branch]] | None = None,
        most: int | None = None,
    ) -> None:
        limits = [n for n in (role.most, most) if n is not None]
        super().__init__(branches, role.ends, role.stop, min(limits, default=None))
        self.budget, self.cut = budget, cut

    def begin(self, machine: Machine, tree: Tree) -> None:
        super().begin(machine, tree)
        self._machine, self._tree = machine, tree
        for branch in self.branches if self.budget.critical is not None else ():
            assert branch.goal and self.budget.critical is not None
            branch.goal.limit = min(branch.goal.limit, max(0, self.budget.critical - branch.critical))

    def done(self) -> bool:
        left = self.budget.left(self._tree)
        if left < len(self._tree.living):  # else all of them may go on, whoever decodes
            for branch in [branch for branch in self._tree.living if branch.decoding][left:]:
                self._end(branch, "length")
        for branch in self.cut(self.branches) if self.cut else ():
            self._end(branch, "cut")
            self._machine.branching.close(branch, "released")
        return super().done()

    def needs(self) -> Iterable[Branch]:
        """Those that are admitted: of the whole tree's the oldest, since other operations of it decode as well; and who
        is in a weave with one of them, for these go in step."""
        length, admission = self.budget.length, self.budget.admission
        if length is None and admission is None:
            return super().needs()
        running = [branch for branch in self._tree.living if branch.decoding]
        if length is not None and running:
            del running[affordable(running, self.budget.left(self._tree), length) :]
        if admission:
            del running[admission.width(self._tree, len(running), self._machine.log.step) :]
        return [one for one in super().needs() if one in running or any(map(one.woven_with, running))]

    def _end(self, branch: Branch, reason: str) -> None:
        if branch.decoding:
            branch.end(reason)
            self._machine.log.emit("stopped", self._tree, branch, reason=reason)


@dataclass
class Wait(Operation):
    """What ``branches`` do next was decided from what all of ``others`` wrote: their critical paths go on from the
    longest of these. A fork and a join see to this themselves; a search that chooses must say so."""

    branches: Iterable[Branch]
    others: Iterable[Branch]

    def begin(self, machine: Machine, tree: Tree) -> None:
        longest = max((branch.critical for branch in self.others), default=0)
        for branch in self.branches:
            if branch.critical < longest:
                branch.critical = longest
                machine.log.emit("waited", tree, branch, critical=longest)

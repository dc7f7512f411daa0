"""The operations that change a tree: fork, weave, join, release."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

from ..kv.weave import POSITIONS
from ..model.tokenizer import Tokenizer
from .branch import Branch, Tree
from .cost import NoRoom
from .given import Tokens, branches_of, token_ids
from .joins import JOINS, READ_KV
from .joins import Join as JoinRule
from .request import Machine, Operation


@dataclass
class Fork(Operation):
    """Split a branch: one child for each seed (text or tokens that it begins with), or ``n`` unseeded ones.

    Costs no computing and no copying: children attend to what the parent wrote. The parent waits until
    they are joined or released. Gives the children.

    keep    how many of the parent's tokens they are given, from its first on; None: all. With fewer every child needs
            a seed. With 0 it has a context of its own, from position 0 on, and a seed that is text is a prompt: with
            the join ``message`` that is spawn and join of APR (Pan et al. 2025, section 3), nested call and return
    voices  of the model, one for each child, 0: none; the children speak in them, so that whoever reads them later
            can tell them apart (ParaThinker, Wen et al. 2025, section 3). None: all in the parent's
    """

    branch: Branch
    seeds: int | Sequence[Tokens]
    keep: int | None = None
    voices: Sequence[int] | None = None

    def begin(self, machine: Machine, tree: Tree) -> None:
        branches_of(self.branch)
        self.branch.require("fork")
        limits = self.branch.request.limits
        try:
            width = index(self.seeds)  # type: ignore[arg-type]
            seeds: list[list[int]] = [[]] * min(width, limits.width)
        except TypeError:
            seeds = [self._seed(machine.tokenizer, seed) for seed in self.seeds]  # type: ignore[union-attr]
            width = len(seeds)
        if width < 1:
            raise ValueError(f"a fork needs at least one branch, is asked for {self.seeds}")
        if self.branch.span.weave:
            raise ValueError(f"branch {self.branch.id} is in a weave: join its members before one of them can fork")
        if width > limits.width:
            raise ValueError(f"{width} branches asked for, the limit on width is {limits.width}")
        if self.branch.depth >= limits.depth:
            raise NoRoom(f"branch {self.branch.id} is {self.branch.depth} forks deep, the limit is {limits.depth}")
        if self.keep is not None and not 0 <= index(self.keep) <= len(self.branch.history):
            raise ValueError(f"cannot keep {self.keep} tokens: branch {self.branch.id} has {len(self.branch.history)}")
        self._seeds, self._voices = seeds, self._checked(machine.branching.config.voices, width)

    def _checked(self, most: int, width: int) -> list[int] | None:
        if self.voices is None:
            return None
        voices = [index(voice) for voice in self.voices]
        if len(voices) != width:
            raise ValueError(f"{len(voices)} voices for {width} branches")
        if wrong := [voice for voice in voices if not 0 <= voice <= most]:
            raise ValueError(f"there is no voice {wrong[0]}: the model has {most}")
        return voices

    def _seed(self, tokenizer: Tokenizer, seed: Any) -> list[int]:
        if self.keep == 0 and isinstance(seed, str):
            return list(tokenizer.prompt(seed))
        return token_ids(tokenizer, seed)

    def done(self) -> bool:
        return self.branch.ready or self.branch.state != "alive"

    def result(self, machine: Machine) -> list[Branch]:
        self.branch.require("fork")
        return machine.branching.fork(self.branch, self._seeds, self.keep, self._voices)

    def needs(self) -> Iterable[Branch]:
        return (self.branch,)


@dataclass
class Weave(Operation):
    """Have branches see each other as they write: children of one fork, before anything of them is computed. Gives
    them.

    From then on token ``i`` of each, counted from the fork, seeds included, sees tokens ``0..i`` of all the others, of
    those that have so many (``kv/weave.py``). Members that are decoded at the same time therefore go in step, and one
    that has not been told to go on stands still: what it adds later stands at the index that the others have reached by
    then. One that is released leaves what it wrote: the others go on seeing it. A member cannot fork; any join joins
    them.

    positions  "slots" (member n from the fork's position + n * ``slot`` on), "shared", "contiguous" (as one text, one's
               own last), or "private" (nothing of the others is seen before it is shared, see ``Share``)
    slot       positions that each member has of its own
    """

    branches: Sequence[Branch]
    positions: str = "shared"
    slot: int | None = None

    def begin(self, machine: Machine, tree: Tree) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"positions are {', '.join(POSITIONS)}, not {self.positions!r}")
        slot = index(self.slot) if self.slot is not None else 0
        if (slot > 0) != (self.positions == "slots"):
            raise ValueError(
                f"slots have a size of at least 1, other positions none; {self.positions} with {self.slot}"
            )
        branches = branches_of(self.branches)
        if not branches:
            raise ValueError("a weave needs at least one branch")
        for branch in branches:
            branch.require("be woven")
            fresh = not branch.span.peak and not branch.generated and branch.first == len(branch.view)
            if not fresh or branch.span.weave or branch.parent is None or branch.decoding:
                raise ValueError(f"branch {branch.id} is not fresh from a fork: a weave begins there")
            if branch.parent is not branches[0].parent or branch.view != branches[0].view:
                raise ValueError(f"branches {branches[0].id} and {branch.id} are not of one fork: a weave begins there")
        self._woven = sorted(branches, key=lambda branch: branch.path)
        machine.branching.weave(self._woven, self.positions, slot)

    def result(self, machine: Machine) -> list[Branch]:
        return self._woven


@dataclass
class Share(Operation):
    """What a member of a weave has written so far becomes part of what all see first, behind what is there already: a
    finished paragraph of Hogwild!'s. Costs no computing and no copying: it is seen elsewhere from here on. For weaves
    that are read as one text; their members are joined by ``select`` or ``message``. Gives the branch.
    """

    branch: Branch

    def begin(self, machine: Machine, tree: Tree) -> None:
        branches_of(self.branch)
        self.branch.require("share")
        weave = self.branch.span.weave
        if weave is None or weave.positions not in ("contiguous", "private"):
            raise ValueError(f"branch {self.branch.id} is in no weave that is read as one text: contiguous or private")

    def done(self) -> bool:
        return self.branch.ready or self.branch.state != "alive"

    def result(self, machine: Machine) -> Branch:
        self.branch.require("share")
        machine.branching.share(self.branch)
        return self.branch

    def needs(self) -> Iterable[Branch]:
        return (self.branch,)


@dataclass
class Join(Operation):
    """Make branches one again, by one of the rules in ``joins.py`` (by name, or your own function).

    Branches of the parent that are not named are let go. ``then`` are tokens to go on with, such as the
    one that begins a conclusion. ``keep``: leave parent and branches as they are, and go on in a new branch
    beside the parent; the same branches can then be joined again in another way. Gives the joined branch.
    """

    parent: Branch
    branches: Sequence[Branch]
    how: str | JoinRule = "stitch"
    then: Tokens = ()
    keep: bool = False

    def begin(self, machine: Machine, tree: Tree) -> None:
        if isinstance(self.how, str) and self.how not in JOINS:
            raise ValueError(f"no join is called {self.how!r}; there are {', '.join(JOINS)}")
        self._rule = JOINS[self.how] if isinstance(self.how, str) else self.how
        branches_of(self.parent)
        # By their place in the tree, whatever order they finished or were named in: a join is deterministic (F64).
        self._branches = sorted(branches_of(self.branches), key=lambda branch: branch.path)
        if not self._branches:
            raise ValueError("a join needs at least one branch")
        self._check()
        self.given = token_ids(machine.tokenizer, self.then)

    def _check(self) -> None:
        if self.parent.state != "alive":
            raise ValueError(f"branch {self.parent.id} was {self.parent.state}: nothing can be joined to it")
        for branch in self._branches:
            branch.require("be joined")
            if branch.parent is not self.parent:
                raise ValueError(f"branch {branch.id} is not a child of branch {self.parent.id}")
            if branch.decoding:
                raise ValueError(f"branch {branch.id} is still decoding")

    def done(self) -> bool:
        if any(branch.state != "alive" for branch in (self.parent, *self._branches)):
            return True  # the result says what is wrong
        return self.parent.request.held and all(branch.ready for branch in self.needs())

    def result(self, machine: Machine) -> Branch:
        self._check()
        return machine.branching.join(self.parent, self._branches, self._rule, self.given, self.keep)

    def needs(self) -> Iterable[Branch]:
        return self._branches if self._rule in READ_KV else ()


@dataclass
class Release(Operation):
    """Let branches (and their children) go; their text stays readable. Releasing twice is fine."""

    branches: Sequence[Branch]

    def begin(self, machine: Machine, tree: Tree) -> None:
        for branch in branches_of(self.branches):
            machine.branching.close(branch, "released")

"""The operations that a program can yield, one class each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .branch import Branch, Completion, Goal
from .joins import JOINS, READ_KV
from .joins import Join as JoinRule
from .request import Operation, Program, Request, Task
from .sampling import Sampling
from .stopping import TextStream

if TYPE_CHECKING:
    from .engine import Engine


@dataclass
class Start(Operation):
    """A new root. ``prompt`` is text (control tokens cannot enter this way) or token ids. Gives a Branch."""

    prompt: str | Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)

    def begin(self, engine: Engine, request: Request) -> None:
        tokens = engine.tokenizer.encode(self.prompt) if isinstance(self.prompt, str) else list(self.prompt)
        self.branch = engine.branching.start(request, tokens, self.sampling)

    def result(self, engine: Engine) -> Branch:
        return self.branch


@dataclass
class Decode(Operation):
    """Decode branches together, one token each a step, until each has stopped. Gives Completions in order.

    until       control tokens (ids or names) that end a branch
    stop        strings that end a branch, wherever the cuts between tokens fall
    max_tokens  for each branch
    """

    branches: Sequence[Branch]
    until: Iterable[int | str] = ()
    stop: Sequence[str] = ()
    max_tokens: int | None = None
    keep_stop: bool = False

    def begin(self, engine: Engine, request: Request) -> None:
        if self.max_tokens is not None and self.max_tokens < 0:
            raise ValueError(f"max_tokens must not be negative, is {self.max_tokens}")
        if len(set(self.branches)) != len(self.branches):
            raise ValueError("a branch is given twice")
        until = frozenset(engine.tokenizer.id(t) if isinstance(t, str) else t for t in self.until)
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        for branch in self.branches:
            branch.require("decode")
            if branch.request is not request:
                raise ValueError(f"branch {branch.id} belongs to request {branch.request.id}, not {request.id}")
            if branch.decoding:
                raise ValueError(f"branch {branch.id} is already decoding")
            if branch.logits is None and not branch.span.behind:
                raise ValueError(f"branch {branch.id} has no token to go on from: give it some")
        limit = request.limits.tokens if self.max_tokens is None else self.max_tokens
        for branch in self.branches:
            stream = TextStream(engine.tokenizer.decode, stops, self.keep_stop) if stops else None
            branch.goal, branch.completion = Goal(until, limit, len(branch.generated), stream), None

    def done(self) -> bool:
        return not any(branch.decoding for branch in self.branches)

    def result(self, engine: Engine) -> list[Completion]:
        return [branch.completion for branch in self.branches if branch.completion]

    def needs(self) -> Iterable[Branch]:
        return (branch for branch in self.branches if branch.decoding)


@dataclass
class Settle(Operation):
    """Compute branches up to their last token, so that ``logits`` says what comes next. Gives the branches."""

    branches: Sequence[Branch]

    def begin(self, engine: Engine, request: Request) -> None:
        for branch in self.branches:
            branch.require("be computed")

    def done(self) -> bool:
        return all(branch.ready or branch.state != "alive" for branch in self.branches)

    def result(self, engine: Engine) -> Sequence[Branch]:
        for branch in self.branches:
            branch.require("be computed")
        return self.branches

    def needs(self) -> Iterable[Branch]:
        return self.branches


@dataclass
class Extend(Operation):
    """Append given tokens or text to a branch. Gives the branch."""

    branch: Branch
    tokens: str | Sequence[int]

    def begin(self, engine: Engine, request: Request) -> None:
        self.branch.require("be extended")
        tokens = engine.tokenizer.encode(self.tokens) if isinstance(self.tokens, str) else list(self.tokens)
        engine.branching.extend(self.branch, tokens)

    def result(self, engine: Engine) -> Branch:
        return self.branch


@dataclass
class Fork(Operation):
    """Split a branch: one child for each seed (token ids that it begins with), or ``n`` unseeded ones.

    Costs no computing and no copying: children attend to what the parent wrote. The parent waits until
    they are joined or released. Gives the children.
    """

    branch: Branch
    seeds: int | Sequence[Sequence[int]]

    def begin(self, engine: Engine, request: Request) -> None:
        self._seeds = [()] * self.seeds if isinstance(self.seeds, int) else list(self.seeds)
        self.branch.require("fork")
        limits = self.branch.request.limits
        if not self._seeds:
            raise ValueError(f"a fork needs at least one branch, is asked for {self.seeds}")
        if len(self._seeds) > limits.width:
            raise ValueError(f"{len(self._seeds)} branches asked for, the limit on width is {limits.width}")
        if self.branch.depth >= limits.depth:
            raise ValueError(f"branch {self.branch.id} is {self.branch.depth} forks deep, the limit is {limits.depth}")

    def done(self) -> bool:
        return self.branch.ready or self.branch.state != "alive"

    def result(self, engine: Engine) -> list[Branch]:
        self.branch.require("fork")
        return engine.branching.fork(self.branch, self._seeds)

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
    then: Sequence[int] = ()
    keep: bool = False

    def begin(self, engine: Engine, request: Request) -> None:
        if isinstance(self.how, str) and self.how not in JOINS:
            raise ValueError(f"no join is called {self.how!r}; there are {', '.join(JOINS)}")
        self._rule = JOINS[self.how] if isinstance(self.how, str) else self.how
        if not self.branches:
            raise ValueError("a join needs at least one branch")
        if len(set(self.branches)) != len(self.branches):
            raise ValueError("a branch is given twice")
        self._check()
        # By their place in the tree, whatever order they finished or were named in: a join is deterministic (F64).
        self._branches = sorted(self.branches, key=lambda branch: branch.path)

    def _check(self) -> None:
        if self.parent.state != "alive":
            raise ValueError(f"branch {self.parent.id} was {self.parent.state}: nothing can be joined to it")
        for branch in self.branches:
            branch.require("be joined")
            if branch.parent is not self.parent:
                raise ValueError(f"branch {branch.id} is not a child of branch {self.parent.id}")
            if branch.decoding:
                raise ValueError(f"branch {branch.id} is still decoding")

    def done(self) -> bool:
        if any(branch.state != "alive" for branch in (self.parent, *self._branches)):
            return True  # the result says what is wrong
        return self.parent.request.held and all(branch.ready for branch in self.needs())

    def result(self, engine: Engine) -> Branch:
        self._check()
        return engine.branching.join(self.parent, self._branches, self._rule, list(self.then), self.keep)

    def needs(self) -> Iterable[Branch]:
        return self._branches if self._rule in READ_KV else ()


@dataclass
class Release(Operation):
    """Let branches (and their children) go; their text stays readable. Releasing twice is fine."""

    branches: Sequence[Branch]

    def begin(self, engine: Engine, request: Request) -> None:
        for branch in self.branches:
            engine.branching.close(branch, "released")


@dataclass
class All(Operation):
    """Run several programs of one tree at the same time, each at its own pace. Gives their values in order."""

    programs: Sequence[Program]

    def begin(self, engine: Engine, request: Request) -> None:
        self._engine = engine
        self._tasks = [Task(program, request) for program in self.programs]

    def done(self) -> bool:
        try:
            for task in self._tasks:
                task.advance(self._engine)
        except Exception:
            for task in self._tasks:
                task.close()
            raise
        return all(task.finished for task in self._tasks)

    def result(self, engine: Engine) -> list[object]:
        return [task.value for task in self._tasks]

    def needs(self) -> Iterable[Branch]:
        return (branch for task in self._tasks for branch in task.needs())

"""The operations that a program can yield, one class each; those that change the tree are in ``forks``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import index

from .branch import Branch, Completion, Goal, Tree
from .forks import Fork, Join, Release, Share, Weave
from .given import Tokens, branches_of, token_id, token_ids
from .request import Machine, Operation, Program, Task
from .sampling import Sampling
from .stopping import TextStream

__all__ = [
    "All",
    "Decode",
    "Extend",
    "Fork",
    "Join",
    "Release",
    "Settle",
    "Share",
    "Start",
    "Tokens",
    "Weave",
    "token_ids",
]


@dataclass
class Start(Operation):
    """A new root. ``prompt`` is text (control tokens cannot enter this way) or tokens. Gives a Branch."""

    prompt: Tokens
    sampling: Sampling = field(default_factory=Sampling)

    def begin(self, machine: Machine, tree: Tree) -> None:
        prompt, tokenizer = self.prompt, machine.tokenizer
        tokens = tokenizer.prompt(prompt) if isinstance(prompt, str) else token_ids(tokenizer, prompt)
        self.branch = machine.branching.start(tree, tokens, self.sampling)

    def result(self, machine: Machine) -> Branch:
        return self.branch


@dataclass
class Decode(Operation):
    """Decode branches together, one token each a step, until each has stopped. Gives Completions in order.

    until       control tokens (ids or names) that end a branch
    stop        strings that end a branch, wherever the cuts between tokens fall
    max_tokens  for each branch
    """

    branches: Sequence[Branch]
    until: str | Iterable[int | str] = ()
    stop: str | Sequence[str] = ()
    max_tokens: int | None = None
    keep_stop: bool = False

    def begin(self, machine: Machine, tree: Tree) -> None:
        most = tree.limits.tokens if self.max_tokens is None else index(self.max_tokens)
        if most < 0:
            raise ValueError(f"max_tokens must not be negative, is {self.max_tokens}")
        until = (self.until,) if isinstance(self.until, str) else self.until or ()
        ends = frozenset(token_id(machine.tokenizer, one) for one in until)
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if wrong := [stop for stop in stops if not isinstance(stop, str) or not stop]:
            raise ValueError(f"a stop is a text that is not empty, not {wrong[0]!r}")
        self._given = branches_of(self.branches)
        for branch in self._given:
            branch.require("decode")
            if branch.request is not tree:
                raise ValueError(f"branch {branch.id} belongs to request {branch.request.id}, not {tree.id}")
            if branch.decoding:
                raise ValueError(f"branch {branch.id} is already decoding")
            if branch.row is None and not branch.span.behind:
                raise ValueError(f"branch {branch.id} has no token to go on from: give it some")
        for branch in self._given:
            machine.branching.catch_up(branch)
        for branch in self._given:
            stream = TextStream(machine.tokenizer.decode, stops, self.keep_stop) if stops else None
            branch.goal, branch.completion = Goal(ends, most, len(branch.generated), stream), None
        self._waited_for = self._given[:]  # without those at the end that are done

    def done(self) -> bool:
        while self._waited_for and self._waited_for[-1].goal is None:
            self._waited_for.pop()
        return not self._waited_for

    def result(self, machine: Machine) -> list[Completion]:
        return [branch.completion for branch in self._given if branch.completion]

    def needs(self) -> Iterable[Branch]:
        return [branch for branch in self._given if branch.goal]


@dataclass
class Settle(Operation):
    """Compute branches up to their last token, so that ``logits`` says what comes next. Gives the branches."""

    branches: Sequence[Branch]

    def begin(self, machine: Machine, tree: Tree) -> None:
        for branch in branches_of(self.branches):
            branch.require("be computed")

    def done(self) -> bool:
        return all(branch.ready or branch.state != "alive" for branch in self.branches)

    def result(self, machine: Machine) -> Sequence[Branch]:
        for branch in self.branches:
            branch.require("be computed")
        return self.branches

    def needs(self) -> Iterable[Branch]:
        return self.branches


@dataclass
class Extend(Operation):
    """Append given tokens or text to a branch. Gives the branch."""

    branch: Branch
    tokens: Tokens

    def begin(self, machine: Machine, tree: Tree) -> None:
        branches_of(self.branch)
        self.branch.require("be extended")
        self.given = token_ids(machine.tokenizer, self.tokens)
        machine.branching.extend(self.branch, self.given)

    def result(self, machine: Machine) -> Branch:
        return self.branch


@dataclass
class All(Operation):
    """Run several programs of one tree at the same time, each at its own pace. Gives their values in order."""

    programs: Sequence[Program]

    def begin(self, machine: Machine, tree: Tree) -> None:
        self._machine = machine
        self._tasks = [Task(program, tree) for program in self.programs]

    def done(self) -> bool:
        try:
            for task in self._tasks:
                task.advance(self._machine)
        except Exception:
            for task in self._tasks:
                task.close()
            raise
        return all(task.finished for task in self._tasks)

    def result(self, machine: Machine) -> list[object]:
        return [task.value for task in self._tasks]

    def needs(self) -> Iterable[Branch]:
        return (branch for task in self._tasks for branch in task.needs())

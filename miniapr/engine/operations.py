"""The operations that a program can yield, one class each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any

from ..model.tokenizer import Tokenizer
from .branch import Branch, Completion, Goal, Tree
from .joins import JOINS, READ_KV
from .joins import Join as JoinRule
from .request import Machine, Operation, Program, Task
from .sampling import Sampling
from .stopping import TextStream

Tokens = str | Sequence[int | str]  # text (control tokens cannot enter this way), or ids and names of tokens


def token_ids(tokenizer: Tokenizer, given: Any) -> list[int]:
    """Ids of text that goes on after other tokens, or of a sequence (a list, an array, a tensor) of ids of any integer
    kind and names of tokens. Raises ValueError for anything else."""
    if isinstance(given, str):
        return list(tokenizer.encode(given, start=False))
    try:
        items = given.tolist() if hasattr(given, "tolist") else list(given)
        return [token_id(tokenizer, item) for item in items]
    except TypeError as error:
        raise ValueError(f"tokens are text or a sequence of ids, not {given!r}") from error


def token_id(tokenizer: Tokenizer, given: Any) -> int:
    """The id of a token: itself, or its name. Raises ValueError for what is neither."""
    if isinstance(given, str):
        return tokenizer.id(given)
    try:
        if isinstance(given, bool):
            raise TypeError
        return index(given)
    except TypeError as error:
        raise ValueError(f"a token is an id or a name, not {given!r}") from error


def _branches(given: Any) -> list[Branch]:
    """Raises ValueError for anything but branches, or one given twice."""
    branches = list(given) if isinstance(given, Iterable) else [given]
    for branch in branches:
        if not isinstance(branch, Branch):
            raise ValueError(f"a branch is wanted, not {branch!r}")
    if len(set(branches)) != len(branches):
        raise ValueError("a branch is given twice")
    return branches


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
        self._given = _branches(self.branches)
        for branch in self._given:
            branch.require("decode")
            if branch.request is not tree:
                raise ValueError(f"branch {branch.id} belongs to request {branch.request.id}, not {tree.id}")
            if branch.decoding:
                raise ValueError(f"branch {branch.id} is already decoding")
            if branch.row is None and not branch.span.behind:
                raise ValueError(f"branch {branch.id} has no token to go on from: give it some")
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
        for branch in _branches(self.branches):
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
        _branches(self.branch)
        self.branch.require("be extended")
        machine.branching.extend(self.branch, token_ids(machine.tokenizer, self.tokens))

    def result(self, machine: Machine) -> Branch:
        return self.branch


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
        _branches(self.branch)
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
        if width > limits.width:
            raise ValueError(f"{width} branches asked for, the limit on width is {limits.width}")
        if self.branch.depth >= limits.depth:
            raise ValueError(f"branch {self.branch.id} is {self.branch.depth} forks deep, the limit is {limits.depth}")
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
        _branches(self.parent)
        # By their place in the tree, whatever order they finished or were named in: a join is deterministic (F64).
        self._branches = sorted(_branches(self.branches), key=lambda branch: branch.path)
        if not self._branches:
            raise ValueError("a join needs at least one branch")
        self._check()
        self._then = token_ids(machine.tokenizer, self.then)

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
        return machine.branching.join(self.parent, self._branches, self._rule, self._then, self.keep)

    def needs(self) -> Iterable[Branch]:
        return self._branches if self._rule in READ_KV else ()


@dataclass
class Release(Operation):
    """Let branches (and their children) go; their text stays readable. Releasing twice is fine."""

    branches: Sequence[Branch]

    def begin(self, machine: Machine, tree: Tree) -> None:
        for branch in _branches(self.branches):
            machine.branching.close(branch, "released")


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

"""Rollouts: programs run in the engine, and each finished tree as data: what was put there, what the model wrote.

A program is a generator of operations, so it can be watched without knowing it: ``watch`` passes its operations on and
writes down what they give. That works for whatever program, for however many of them at once, and costs the engine
nothing. Where each token was written is kept too (its span); the spans know what they saw. So a training row is
``unroll`` of the very views under which the tokens were sampled, whatever the join, and what training computes is what
sampling reported, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..engine.branch import Branch
from ..engine.joins import JOINS
from ..engine.operations import All, Decode, Extend, Fork, Join, Start
from ..engine.request import Operation, Program
from ..kv.span import Span
from ..tasks.trace import TextTree

Place = tuple[Span, int]  # where a token stands: a span, and which of its tokens


@dataclass(frozen=True)
class Unit(TextTree):
    """A stretch of one branch, up to where it forks, is given something, or ends. The shape is that of a ``Trace``.

    given     tokens put there by the engine: a prompt, a seed, a join's token, messages
    written   tokens that the model sampled after them
    logprobs  of each of these, as reported by sampling
    threads   the branches that it forks into then
    then      what follows
    finish    why it ends: "stop", "length", "context", or "" where nothing was decoded
    places    where the written tokens stand; empty if it was made by hand
    after     the token whose logits said the first of them, if that is neither given nor the last one seen
    """

    given: tuple[int, ...]
    written: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    threads: tuple[Unit, ...] = ()
    then: Unit | None = None
    finish: str = ""
    places: tuple[Place, ...] = field(default=(), compare=False, repr=False)
    after: Place | None = field(default=None, compare=False, repr=False)

    @property
    def bare(self) -> Unit:
        """The same as plain data, without where it stands: all that a reward looks at."""
        threads, then = tuple(thread.bare for thread in self.threads), self.then and self.then.bare
        return replace(self, threads=threads, then=then, places=(), after=None)


@dataclass(frozen=True)
class Rollout:
    """A finished tree, judged: all that a reward may look at. Threads count as written at the same time, as they are by
    every method but those that call one after the other.

    problem  what was asked
    root     its units
    correct  what the task's exact verifier said
    serial   tokens of the same problem solved in line, if known
    group    rollouts of one prompt have one number
    usual    what problems like it take in line on average, if known
    """

    problem: Any
    root: Unit
    correct: bool
    serial: int | None = None
    group: int = 0
    usual: float | None = None

    @property
    def critical(self) -> int:
        """Tokens written one after the other: the longest way through the tree."""
        return self.root.critical

    @property
    def total(self) -> int:
        """Tokens written in all branches."""
        return self.root.total

    @property
    def width(self) -> int:
        """Threads of the widest fork, 0 if there is none."""
        return max(len(unit.threads) for unit in self.root)

    @property
    def forked(self) -> bool:
        return self.width > 0


@dataclass(eq=False)
class _Open:
    """A unit while it is written."""

    given: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    threads: list[_Open] = field(default_factory=list)
    then: _Open | None = None
    finish: str = ""
    places: list[Place] = field(default_factory=list)
    after: Place | None = None

    def close(self) -> Unit:
        return Unit(
            tuple(self.given),
            tuple(self.written),
            tuple(self.logprobs),
            tuple(thread.close() for thread in self.threads),
            self.then.close() if self.then else None,
            self.finish,
            tuple(self.places),
            self.after,
        )


class Watched:
    """A program that writes down what it does. Owns the units of one tree."""

    def __init__(self, program: Program) -> None:
        self.program = self._pass(program)
        self._now: dict[Branch, _Open] = {}  # the unit that each branch is writing
        self._last: dict[Branch, _Open] = {}  # the unit that its last sampled token is of
        self._roots: list[_Open] = []

    @property
    def root(self) -> Unit:
        """What was written, from the first branch on; of a program that begins several, they are the threads of an
        empty unit. Raises ValueError if it began none."""
        if not self._roots:
            raise ValueError("the program has begun no branch")
        return self._roots[0].close() if len(self._roots) == 1 else _Open(threads=self._roots).close()

    def _pass(self, program: Program) -> Program:
        value, error = None, None
        try:
            while True:
                try:
                    operation = program.throw(error) if error else program.send(value)
                except StopIteration as end:
                    return end.value
                if isinstance(operation, All):
                    operation = All([self._pass(one) for one in operation.programs])
                value, error = None, None
                try:
                    value = yield operation
                except Exception as caught:
                    error = caught
                else:
                    self._note(operation, value)
                    self._follow()
        finally:
            program.close()

    def _note(self, operation: Operation, value: Any) -> None:
        if isinstance(operation, Start):
            self._now[value] = _Open(given=list(value.span.tokens))
            self._roots.append(self._now[value])
        elif isinstance(operation, Decode):
            for branch, done in zip(operation.branches, value, strict=True):
                unit = self._unit(branch, bool(self._now[branch].threads))
                first = len(branch.span.tokens) - len(done.tokens)
                unit.written += [token.id for token in done.tokens]
                unit.logprobs += [token.logprob for token in done.tokens]
                unit.places += [(branch.span, first + i) for i in range(len(done.tokens))]
                unit.finish = done.finish
                if done.tokens:
                    self._last[branch] = unit
        elif isinstance(operation, Extend):
            before = self._now[operation.branch]
            unit = self._unit(operation.branch, bool(before.written or before.threads))
            unit.given += operation.given
        elif isinstance(operation, Fork):
            parent = self._unit(operation.branch, bool(self._now[operation.branch].threads))
            for child in value:
                seed = list(child.span.tokens)
                self._now[child] = _Open(given=seed, after=None if seed else self._tip(operation.branch))
                parent.threads.append(self._now[child])
        elif isinstance(operation, Join):
            new = value.span.tokens  # of text that is read again only what follows it was not there before
            again = len(new) - len(operation.given) if operation.how in JOINS else 0
            after = None if new else self._tip(operation.branches[0])
            self._now[operation.parent].then = self._now[value] = _Open(given=new[again:], after=after)

    def _tip(self, branch: Branch) -> Place:
        """The token after which a branch goes on."""
        unit, span = self._now[branch], branch.span
        if unit.after and not unit.written and not unit.given:
            return unit.after
        piece = span.whole() if span.tokens else branch.view.pieces[-1]
        return piece.span, piece.stop - 1

    def _follow(self) -> None:
        """A span that is sealed hands a token that is not computed yet to the next one: where it stands then."""
        for branch, unit in self._last.items():
            span, i = unit.places[-1]
            if i >= len(span.tokens):
                unit.places[-1] = branch.span, i - len(span.tokens)

    def _unit(self, branch: Branch, fresh: bool) -> _Open:
        """The branch's unit, or a ``fresh`` one that follows it."""
        if fresh:
            unit = _Open()
            self._now[branch].then = self._now[branch] = unit
        return self._now[branch]

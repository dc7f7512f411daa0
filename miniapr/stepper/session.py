"""A tree of branches driven by short commands, on the real engine, with undo.

    session = Session(miniapr.load())
    session.do("fork 3")
    session.do("decode 5")
    session.do("join stitch")
    session.undo()

After every command the tree is committed (see ``engine/commits.py``). Undo, redo and goto are checkouts: nothing is
computed again, nothing is moved. What is drawn is the straight line to the present state.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..engine.branch import Cost
from ..engine.commits import Commit
from ..engine.engine import Engine
from ..engine.events import Event
from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..model.bundle import Bundle
from .commands import CHANGES, Command, number, offers
from .trace import Trace
from .tree import Tree


@dataclass
class Moment:
    """A state that one can go back to: the command that led to it, what it said, did and cost."""

    command: str
    said: str
    focus: int
    events: list[Event]
    cost: Cost
    commit: Commit


class Session(Tree):
    """A tree with its past and future. What it is made of: see Tree."""

    def __init__(
        self,
        source: Bundle | Engine,
        prompt: str | Sequence[int] | None = None,
        sampling: Sampling | None = None,
        control: Control | None = None,
    ) -> None:
        super().__init__(source, prompt, sampling, control)
        self.watchers: list[Callable[[], None]] = []  # told after every change
        self._past = [self._moment("start", "", self.begun, Cost())]
        self._future: list[Moment] = []  # the next one first

    @property
    def offers(self) -> list[str]:
        """Commands that can be given now: what a page puts on its buttons."""
        return [*offers(self), *["undo"] * bool(self.history), *["redo"] * bool(self.future)]

    # The past

    @property
    def now(self) -> Moment:
        return self._past[-1]

    @property
    def history(self) -> list[str]:
        """The commands that led here."""
        return [moment.command for moment in self._past[1:]]

    @property
    def future(self) -> list[str]:
        """The commands that ``redo`` would bring back."""
        return [moment.command for moment in self._future]

    @property
    def cost(self) -> Cost:
        """What all commands that led here have cost. What was undone does not count."""
        total = Cost()
        for moment in self._past:
            total.add(**vars(moment.cost))
        return total

    @property
    def trace(self) -> Trace:
        """The recorded trace of all that led here."""
        events = [event for moment in self._past for event in moment.events]
        return Trace.of(self.engine, events=events)

    def __repr__(self) -> str:
        return f"Session({' > '.join(['start', *self.history])})"

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()

    def _moment(self, command: str, said: str, begun: int, before: Cost) -> Moment:
        commit = self.engine.commit(self.root)
        spent = Cost()
        spent.add(**{name: amount - vars(before)[name] for name, amount in vars(self.root.request.cost).items()})
        return Moment(command, said, self.focus, self.engine.events[begun:], spent, commit)

    def _go(self) -> None:
        self.engine.checkout(self.now.commit)
        self.focus = self.now.focus
        self._tell()

    def _tell(self) -> None:
        for told in self.watchers:
            told()

    def undo(self, count: int = 1) -> str:
        """Go back ``count`` commands. Raises ValueError if there are none."""
        if not self.history:
            raise ValueError("there is nothing to undo")
        for _ in range(min(count, len(self.history))):
            self._future.insert(0, self._past.pop())
        self._go()
        return f"Back to before `{self._future[0].command}`: nothing was computed, nothing was moved."

    def redo(self, count: int = 1) -> str:
        """Go forward again, until another command is given. Raises ValueError if nothing was undone."""
        if not self._future:
            raise ValueError("there is nothing to redo")
        for _ in range(min(count, len(self._future))):
            self._past.append(self._future.pop(0))
        self._go()
        return f"Forward to after `{self.now.command}`: nothing was computed, nothing was moved."

    def close(self) -> None:
        """Let everything go; idempotent. The trace can still be read."""
        self.engine.end(self.root.request, "finished")

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Commands

    def do(self, line: str) -> str:
        """Run one command. Returns what happened, in words. Raises ValueError if it cannot be done; nothing has changed
        then."""
        name, *words = line.split() or [""]
        name, rest = name.lower(), " ".join(words)
        command = find(name)
        if name in TRAVEL:  # these are no part of what they travel through
            return command.run(self, rest)
        begun, before = len(self.engine.events), replace(self.root.request.cost)
        try:
            said = command.run(self, rest)
        except BaseException:  # also Ctrl-C: a command happens as a whole or not at all
            if self.root.request.state == "running":
                self._go()
            raise
        for moment in self._future:
            self.engine.forget(moment.commit)
        self._future.clear()
        self._past.append(self._moment(f"{name} {rest}".strip(), said, begun, before))
        self._tell()
        return said

    def play(self, *lines: str) -> Session:
        """Several commands in order."""
        for line in lines:
            self.do(line)
        return self


# Commands that go through the past, and the list of all


def _undo(session: Session, rest: str) -> str:
    return session.undo(_count(session, rest, "undo 3"))


def _redo(session: Session, rest: str) -> str:
    return session.redo(_count(session, rest, "redo 3"))


def _count(session: Session, rest: str, example: str) -> int:
    count = len(session.history) + len(session.future) if rest == "all" else number(rest or "1", example)
    return max(count, 1)


def _help(session: Session, rest: str) -> str:
    return "\n".join(f"`{command.example}`: {command.purpose}" for command in COMMANDS.values())


TRAVEL = {
    "undo": Command("undo", "go back one command; also `undo 3`, `undo all`", _undo),
    "redo": Command("redo", "go forward again; also `redo 3`, `redo all`", _redo),
    "help": Command("help", "this list", _help),
}
COMMANDS = {**CHANGES, **TRAVEL}


def find(name: str) -> Command:
    """A command by its name. Raises ValueError, with the likeliest one that was meant."""
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise ValueError(f"no command is called {name!r}; " + (f"`{near[0]}`?" if near else "`help` lists them"))
    return COMMANDS[name]

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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..engine.branch import Branch, Cost
from ..engine.commits import Commit
from ..engine.engine import Engine
from ..engine.events import Event
from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..model.bundle import Bundle
from . import commands

if TYPE_CHECKING:
    from .trace import Trace

# A short problem with a plan that the shipped model can follow: its first item leads to the target.
PROMPT = "<bos> <adaptive> 8 7 3 -> 29 : <plan> 7 * 3 <item> 8 - 7 <item> 8 * 7 </plan>"


@dataclass
class Moment:
    """A state that one can go back to: the command that led to it, what it said, did and cost."""

    command: str
    said: str
    focus: int
    events: list[Event]
    cost: Cost
    commit: Commit


class Session:
    """Owns one tree of an engine, and its past and future. Never does: touch another tree of the engine.

    source   a bundle (then the session makes a small engine of its own) or an engine with ``record=True``
    prompt   text or token ids; None: a small problem that the shipped model can solve
    focus    the branch that commands work on, with all below it
    control  the model's control tokens, if it has any: then branches begin and end as the model was taught
    Raises ValueError for a prompt that the model cannot read.
    """

    def __init__(
        self,
        source: Bundle | Engine,
        prompt: str | Sequence[int] | None = None,
        sampling: Sampling | None = None,
        control: Control | None = None,
    ) -> None:
        self.bundle = source if isinstance(source, Bundle) else None
        if isinstance(source, Bundle):
            control = control or (Control.of(source.tokenizer, source.control) if source.control else None)
            source = Engine(source.model, source.tokenizer, num_blocks=96, block_size=4, reuse_prefixes=False)
        if not source.record:
            raise ValueError("a session needs an engine with record=True: what is drawn is made of its events")
        self.engine, self.control = source, control
        tokens = source.tokenizer.ids(PROMPT.split()) if prompt is None else prompt
        begun = len(source.events)
        self.root = source.start(tokens, replace(sampling or Sampling(), logprobs=5), commands.LIMITS)
        source.settle(self.root)
        self.focus = self.root.id
        self.watchers: list[Callable[[], None]] = []  # told after every change
        self._past = [self._moment("start", "", begun, Cost())]
        self._future: list[Moment] = []  # the next one first

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
    def critical(self) -> int:
        """Tokens that had to be decoded one after the other to get here."""
        return max(branch.critical for branch in self.root.request.alive)

    @property
    def blocks(self) -> int:
        """Blocks that the branches hold. What only the past holds does not count."""
        alive = self.root.request.alive
        pieces = [piece for branch in alive for piece in (*branch.view, branch.span.whole())]
        return len({block for piece in pieces for block in self.engine.kv.blocks(piece)})

    @property
    def trace(self) -> Trace:
        """The recorded trace of all that led here."""
        from .trace import Trace

        events = [event for moment in self._past for event in moment.events]
        return Trace.of(self.engine, events=events)

    def __repr__(self) -> str:
        return f"Session({' > '.join(['start', *self.history])})"

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()

    def widget(self) -> Any:
        """In a notebook: the live stepper, which drives this very session. Raises ImportError without anywidget."""
        from .play import Play
        from .widget import widget

        return widget(Play(self))

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
        command, rest = commands.find(name.lower()), " ".join(words)
        if name.lower() in ("undo", "redo", "help"):  # these are no part of what they travel through
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
        self._past.append(self._moment(f"{name.lower()} {rest}".strip(), said, begun, before))
        self._tell()
        return said

    def play(self, *lines: str) -> Session:
        """Several commands in order."""
        for line in lines:
            self.do(line)
        return self

    # The present

    @property
    def leaves(self) -> list[Branch]:
        """The branches at or below the focus that have not forked, in order of birth."""
        return [one for one in self.root.request.alive if not one.children and self.below(one, self.focus)]

    def below(self, branch: Branch, id: int) -> bool:
        """Whether it is branch ``id`` or comes from it."""
        return branch.id == id or (branch.parent is not None and self.below(branch.parent, id))

    def ended(self, branch: Branch) -> bool:
        """Whether the model has written its last word: an end of thread, of plan or of text."""
        return bool(self.control and branch.history[-1] in self.control.ends)

    def branch(self, id: int) -> Branch:
        """A live branch by its number. Raises ValueError if there is none."""
        alive = {branch.id: branch for branch in self.root.request.alive}
        if id not in alive:
            raise ValueError(f"there is no branch {id}; there are {commands.listed(alive)}")
        return alive[id]

    def encode(self, text: str) -> list[int]:
        return list(self.engine.tokenizer.encode(text))

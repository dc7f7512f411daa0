"""``--step``: a program one operation at a time, with what it did to branches, views, blocks and costs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..engine.branch import Branch
from ..engine.request import Operation, Program, Request
from ..interrupt import Interrupt
from .explain import explain
from .text import console

if TYPE_CHECKING:
    from ..engine.engine import Engine

Stop = Callable[[], bool]
LONGEST = 200  # characters shown of a branch's new text
HELP = "Enter: do it   c: go on without asking   q: quit   ?: what is shown"
KEYS = ("", "c", "continue", "q", "quit")
MORE = (
    "s3[0:8]+20 are the tokens 0 to 7 of span 3, seen 20 positions further on. A span is what one branch wrote in one "
    "go; a branch attends to the pieces of its view, then to its own span. Enter does what was announced, c goes on to "
    "the end without asking, q ends it here."
)


@dataclass
class Pause(Operation):
    """Before an operation, until someone has looked: so the waiting is between two steps, never in one."""

    next: Operation | None
    passed: bool = False

    def done(self) -> bool:
        return self.passed


@dataclass(frozen=True)
class Seen:
    """What was shown of a branch."""

    view: str
    own: str
    tokens: int


class Stepper:
    """Puts a pause before each operation of a program, tells what comes and what has become.

    ``ask`` puts a question and returns the answer; without one, and where the standard input is not a
    terminal, nothing is asked and the program just goes on.
    """

    def __init__(
        self, interrupt: Interrupt, out: Console | None = None, ask: Callable[[str], str] | None = None
    ) -> None:
        self._interrupt, self._out = interrupt, out or console()
        self._ask = ask or (self._out.input if sys.stdin and sys.stdin.isatty() else None)
        self._pause: Pause | None = None
        self._seen: dict[int, Seen] = {}
        self._number = 0
        self._waited = 0.0

    def clock(self) -> float:
        """Seconds, without those spent waiting for an answer."""
        return time.perf_counter() - self._waited

    def wrap(self, program: Program) -> Program:
        """The same program with pauses in it."""
        advance: Callable[[Any], Operation] = program.send
        value: Any = None
        try:
            while True:
                try:
                    operation = advance(value)
                except StopIteration as end:
                    yield self._at(None)
                    return end.value
                yield self._at(operation)
                try:
                    value, advance = (yield operation), program.send
                except Exception as error:  # the operation's: the program decides what it means
                    value, advance = error, program.throw
        finally:
            program.close()

    def _at(self, operation: Operation | None) -> Pause:
        self._pause = Pause(operation)
        return self._pause

    def follow(self, engine: Engine, request: Request, stop: Stop) -> Stop:
        """What to call between two steps; True: stop here."""

        def between() -> bool:
            if self._pause and not self._pause.passed:
                begun = time.perf_counter()
                quit = self._show(engine, request, self._pause)
                self._pause.passed = True
                self._waited += time.perf_counter() - begun
                if quit:
                    return True
            return stop()

        return between

    def _show(self, engine: Engine, request: Request, pause: Pause) -> bool:
        """Returns whether to quit."""
        if request.branches:
            table = branches_table(engine, request, self._seen)
            gone = self._seen.keys() - {branch.id for branch in request.alive}
            for id in sorted(gone):
                del self._seen[id]
                self._out.print(Text(f"Branch {id} is gone.\n"))
            if table or not gone:
                self._out.print(table or Text("No branch has changed.\n"))
            self._out.print(Text(shared_blocks(engine, request)))
            self._out.print(Text(costs(request), "dim"))
        if pause.next is None:
            self._out.print(Text("\nThe program is over; its branches are let go.\n", "bold"))
            return False
        self._number += 1
        title, sentence = explain(pause.next, engine)
        self._out.print(Text.assemble((f"\n{self._number}. {title}", "bold cyan"), f"\n{sentence}"))
        return self._quits()

    def _quits(self) -> bool:
        if self._ask is None:
            return False
        answer = "?"
        while answer not in KEYS:  # what is not understood must not execute a step
            try:
                with self._interrupt.asking():
                    answer = self._ask(f"{HELP} > ").strip().lower()
            except (KeyboardInterrupt, EOFError):
                return True
            if answer not in KEYS:
                self._out.print(Text(MORE, "dim"))
        if answer in ("c", "continue"):
            self._ask = None
        return answer in ("q", "quit")


def branches_table(engine: Engine, request: Request, seen: dict[int, Seen]) -> Table | None:
    """Those that have changed since they were ``seen``: where they stand, what they attend to, what is new
    in their text. None if nothing has changed. Brings ``seen`` up to date."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("branch", "next", "attends to", "writes", "new text"):
        table.add_column(title, overflow="fold")
    for branch in request.alive:
        now = Seen(view(branch), own(branch), len(branch.history))
        before = seen.get(branch.id)
        if now == before:
            continue
        seen[branch.id] = now
        new = branch.history[before.tokens :] if before else branch.span.tokens
        text = engine.tokenizer.decode(new)
        name = f"{branch.id}" + (f" of {branch.parent.id}" if branch.parent else "")
        text = text if len(text) <= LONGEST else f"... {text[-LONGEST:].partition(' ')[2]}"
        table.add_row(name, f"{branch.position}", now.view, now.own, Text(text))
    return table if table.row_count else None


def view(branch: Branch) -> str:
    """The pieces that it attends to before its own span: span[start:stop], and by how much they are moved."""
    pieces = [f"s{p.span.id}[{p.start}:{p.stop}]" + (f"{p.shift:+d}" if p.shift else "") for p in branch.view.pieces]
    return " ".join(pieces) or "nothing"


def own(branch: Branch) -> str:
    span = branch.span
    behind = f" ({span.behind} to compute)" if span.behind else ""
    return f"s{span.id}[0:{len(span.tokens)}]{behind}"


def shared_blocks(engine: Engine, request: Request) -> str:
    """Which blocks of the pool have more than one reader, by the pool's own counts."""
    spans = {piece.span for branch in request.alive for piece in (*branch.view, branch.span.whole())}
    groups: dict[int, dict[int, int]] = {}  # count -> block -> span
    for span in spans:
        for block in span.blocks:
            if engine.pool.refs[block] > 1:
                groups.setdefault(int(engine.pool.refs[block]), {})[block] = span.id
    lines = [
        f"  {count} readers: blocks {ranges(blocks)} (of {' '.join(f's{id}' for id in sorted(set(blocks.values())))})"
        for count, blocks in sorted(groups.items(), reverse=True)
    ]
    used, shared = len(engine.pool) - engine.pool.free, sum(map(len, groups.values()))
    head = f"Blocks: {used} of {len(engine.pool)} in use, {shared} with more than one reader"
    return "\n".join([head + (" (branches, prefix cache):" if lines else ""), *lines])


def ranges(numbers: Iterable[int]) -> str:
    """3, 4, 5, 9 as "3-5 9"."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in found)


def costs(request: Request) -> str:
    """All that has been spent so far."""
    cost = request.cost
    return (
        f"So far: {cost.decoded} decoded, {cost.prefilled} prefilled, {cost.recomputed} computed again, "
        f"{cost.reused} reused, {cost.bytes_moved:,} bytes moved, {cost.keys_shifted} keys shifted, "
        f"{cost.steps} passes"
    )

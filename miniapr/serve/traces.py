"""Requests that asked to be looked at: what happened to each, as a page of the stepper."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import numpy as np

from ..engine.engine import Engine
from ..engine.events import Event
from ..engine.request import Request
from ..kv.span import Span, View
from ..stepper.trace import Trace

KEPT = 16  # traces; one more, and the oldest is forgotten


class Recorder:
    """The events of one request, made complete: a trace is drawn from its events alone, and this request did not see
    the engine begin. Called in the engine's thread.

    What others wrote and this request begins with (a cached prefix) enters as branches of negative numbers, as far as
    this request's own text goes: what comes after that is somebody else's. Blocks of others are there, with how many
    hold them, and nothing else.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._refs: np.ndarray | None = None  # as last told
        self._known: dict[Span, tuple[int, int]] = {}  # of others -> number of its branch, tokens told

    def take(self, engine: Engine, request: Request, events: Iterable[Event]) -> None:
        """What happened since the last time, to all."""
        for event in events:
            if event.kind == "cached" and event.request == request.id:
                view = next((branch.view for branch in request.branches if branch.id == event.branch), ())
                of_others = {span for span, _, _, _ in event.data["view"]}
                for piece in view:
                    if piece.span.id in of_others:
                        self.events += self._introduce(piece.span, piece.stop, event.step, engine.pool.block_size)
            if event.request == request.id or event.kind == "step":
                self.events.append(event)
        now = np.array(engine.pool.refs)  # [num_blocks]
        changed = np.nonzero(now != (np.zeros_like(now) if self._refs is None else self._refs))[0]
        if self.events and len(changed):
            refs = {str(block): int(now[block]) for block in changed}
            self.events.append(Event("pool", self.events[-1].step, data={"refs": refs}))
        self._refs = now

    def _introduce(self, span: Span, stop: int, step: int, block_size: int) -> Iterator[Event]:
        branch, told = self._known.get(span, (-1 - len(self._known), 0))
        if stop <= told:
            return
        if not told:
            self._known[span] = branch, stop
            for piece in span.view:
                yield from self._introduce(piece.span, piece.stop, step, block_size)
            begun = {"span": span.id, "position": span.position, "tokens": span.tokens[:stop], "view": _told(span.view)}
            yield Event("started", step, None, branch, begun)
        else:
            self._known[span] = branch, stop
            yield Event("extended", step, None, branch, {"tokens": span.tokens[told:stop]})
        blocks = [int(block) for block in span.blocks[: -(-stop // block_size)]]
        yield Event("computed", step, None, None, {"span": span.id, "start": 0, "stop": stop, "blocks": blocks})
        yield Event("ended", step, None, branch)


def _told(view: View) -> list[list[int]]:
    return [[piece.span.id, piece.start, piece.stop, piece.shift] for piece in view]


class Traces:
    """The last requests that asked for it, by the name of their answer."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Recorder] = OrderedDict()

    def recorder(self, name: str) -> Recorder:
        self._kept[name] = recorder = Recorder()
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return recorder

    def page(self, name: str, engine: Engine) -> str:
        """Raises KeyError for one that is not kept, ValueError where there is nothing to draw (yet)."""
        return Trace.of(engine, name, self._kept[name].events[:]).to_html()

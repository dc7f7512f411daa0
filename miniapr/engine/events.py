"""What happened, in order: everything drawn, counted or replayed is made from these."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..kv.cache import KVCache

VERSION = 2


@dataclass(frozen=True, slots=True)
class Event:
    """``kind`` and its ``data``. Where a branch begins a span, ``...`` stands for what is said of it: ``span``, the
    ``position`` of its first token, its ``tokens`` so far, ``view``: [[span, start, stop, shift], ...], and its
    ``voice``, if it has one.

    submitted            a program entered
    admitted             its branches hold their KV; ``restore``: tokens to be computed again first
    started              branch, ...
    cached               branch begins on ``cached`` tokens that need no computing, ...
    extended             branch got ``tokens``
    sealed               branch goes on in a new span, ...
    computed             span, ``start``, ``stop``: keys and values went to ``blocks``; branch, if its open span
    decoded              branch, token, text, logprob, alternatives [(token, logprob, text), ...]
    stopped              branch, reason
    waited               branch, whose next token others had to come before: ``critical``, how many now
    scored               branch, ``score``: what a judge gave it, or a search has it on average, after ``visits`` of it
    forked               branch, children [{branch, ...}, ...], position, ``reused`` tokens
    woven                members [{branch, ...}, ...]: from now on they see each other's tokens as they are written;
                         ``common`` tokens of their views are the same; ``positions``: see ``kv.weave.Weave``
    copied               span, a copy of span ``source`` in ``blocks``, its keys turned by ``turn``; position, tokens
    joined               branch, parent, children, how, recomputed, reused, bytes_moved, keys_shifted, seconds, ...;
                         ``read``: how many of its tokens, the first, are the children's text again; the rest is new
    fallback             a join was done another way, and why
    merged               branch, whose join it was; what it wrote lives on
    released             branch, let go while its thought goes on
    ended                branch, alive when its thought came to its end
    aborted              branch
    preempted            request gave up its blocks; nothing is lost, it computes them again
    finished, failed     request; error
    step                 rows, seconds, free, cached and used blocks
    pool                 ``refs`` {block: holders}, of the blocks where that has changed
    """

    kind: str
    step: int
    request: int | None = None
    branch: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Numbered(Protocol):
    """A request or a branch."""

    id: int


class Log:
    """The events of one engine, its step counter, and the numbers it gives to requests, branches and spans.

    on     whether anybody reads: if not, no event is made
    count  how much has happened, read or not
    """

    def __init__(self, on: bool = True) -> None:
        self.events: list[Event] = []
        self.on = on
        self.step = self.count = 0
        self._next: Counter[str] = Counter()

    def number(self, kind: str) -> int:
        self._next[kind] += 1
        return self._next[kind] - 1

    def emit(self, kind: str, request: Numbered | None = None, branch: Numbered | None = None, **data: Any) -> None:
        """Whoever makes ``data`` at a price asks first whether the log is ``on``."""
        self.count += 1
        if self.on:
            ids = (request.id if request else None, branch.id if branch else None)
            self.events.append(Event(kind, self.step, *ids, data))


class Census:
    """What events have said of the pool: how many holders each block has, branches and the prefix cache. What only
    a commit keeps does not count.

    told  [num_blocks]; replaced, never changed in place, so a reference to it is a copy
    """

    def __init__(self, kv: KVCache, log: Log) -> None:
        self._kv, self._log = kv, log
        self.told: npt.NDArray[np.int64] = np.zeros(len(kv.pool), dtype=np.int64)

    def tell(self) -> None:
        """Say where that has changed."""
        if not self._log.on:
            return
        now = self._kv.pool.refs - self._kv.kept_refs
        changed = np.nonzero(now != self.told)[0]
        if len(changed):
            self._log.emit("pool", refs={int(block): int(now[block]) for block in changed})
            self.told = now

"""What happened, in order: everything drawn, counted or replayed is made from these."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .branch import Branch
    from .request import Request

VERSION = 1


@dataclass(frozen=True)
class Event:
    """``kind`` and its ``data``:

    submitted            a program entered
    admitted             its branches hold their KV; ``restore``: tokens to be computed again first
    started              branch, tokens of the prompt, ``position`` and ``cached`` tokens that need no computing
    computed             span, ``start``, ``stop``: keys and values written; branch, if it is an open span
    decoded              branch, token, text, logprob, alternatives
    stopped              branch, reason
    forked               branch, children (id, position, seed), ``reused`` tokens
    joined               branch, children, how, position, recomputed, reused, bytes_moved, keys_shifted
    fallback             a join was done another way, and why
    released, aborted    branch
    preempted            request gave up its blocks; nothing is lost, it computes them again
    finished, failed     request; error
    step                 rows, seconds, free, cached and used blocks
    """

    kind: str
    step: int
    request: int | None = None
    branch: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Log:
    """The events of one engine, its step counter, and the numbers it gives to requests, branches and spans."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.step = 0
        self._next: Counter[str] = Counter()

    def number(self, kind: str) -> int:
        self._next[kind] += 1
        return self._next[kind] - 1

    def emit(self, kind: str, request: Request | None = None, branch: Branch | None = None, **data: Any) -> None:
        ids = (request.id if request else None, branch.id if branch else None)
        self.events.append(Event(kind, self.step, *ids, data))


def write_trace(path: str | Path, events: Iterable[Event], about: dict[str, Any]) -> None:
    """One JSON object a line: first ``about`` with the format's version, then the events."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"miniapr_trace": VERSION, **about}) + "\n")
        for event in events:
            file.write(json.dumps(asdict(event)) + "\n")


def read_trace(path: str | Path) -> tuple[dict[str, Any], list[Event]]:
    """The inverse. Raises ValueError for a file that is not a trace of this version, naming the line."""
    number = 1
    try:
        with open(path, encoding="utf-8") as file:
            about = json.loads(next(file, ""))
            if not isinstance(about, dict) or about.pop("miniapr_trace", None) != VERSION:
                raise ValueError(f"{path} is not a trace of version {VERSION}")
            events = []
            for line in file:
                number += 1
                events.append(Event(**json.loads(line)))
            return about, events
    except (json.JSONDecodeError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} line {number} is not an event: {error}") from error

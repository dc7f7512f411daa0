"""Ctrl-C, or a request to end, as a flag that is looked at between two steps: nothing is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDS = (signal.SIGINT, signal.SIGTERM)
INTERRUPTED = 130  # as a shell says it of a process that Ctrl-C ended


class Interrupt:
    """While entered, the first Ctrl-C or SIGTERM sets ``requested``; a second one kills the process.

    Owns: the handlers of both. Never does: raise in the middle of a step.
    """

    def __init__(self) -> None:
        self.requested = False
        self._asking = False
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        return self.requested

    def __enter__(self) -> Interrupt:
        try:
            self._before = {number: signal.signal(number, self._handle) for number in ENDS}
        except ValueError:  # only the main thread may: elsewhere Ctrl-C is somebody else's matter
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
        if self._asking:  # input() would go on waiting for its line
            raise KeyboardInterrupt

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around a question to the user: here Ctrl-C does raise KeyboardInterrupt."""
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

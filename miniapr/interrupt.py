"""Ctrl-C as a flag that is looked at between two steps, so that nothing is left half done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupt:
    """While entered, the first Ctrl-C sets ``requested``; a second one kills the process.

    Owns: the handler of SIGINT. Never does: raise in the middle of a step.
    """

    def __init__(self) -> None:
        self.requested = False
        self._asking = False
        self._before: Any = None

    def __call__(self) -> bool:
        return self.requested

    def __enter__(self) -> Interrupt:
        try:
            self._before = signal.signal(signal.SIGINT, self._handle)
        except ValueError:  # only the main thread may: elsewhere Ctrl-C is somebody else's matter
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
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

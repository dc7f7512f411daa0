"""Who called whom, and who holds which blocks."""

from __future__ import annotations


class Calls:
    """``free``: blocks that nobody holds."""

    def __init__(self, blocks: int) -> None:
        self.free = blocks
        self.held: dict[int, int] = {}  # by frame, in the order of calls
        self.caller: dict[int, int | None] = {}
        self.running: set[int] = set()

    def call(self, caller: int | None, blocks: int) -> int:
        """A new frame, which holds so many blocks. Gives its number."""
        frame = len(self.held)
        self.held[frame], self.caller[frame] = blocks, caller
        self.free -= blocks
        self.running.add(frame)
        return frame

    def returns(self, frame: int) -> None:
        """A frame is done. What it called and did not wait for is cancelled."""
        self.cancel(frame)

    def cancel(self, frame: int) -> None:
        """A frame is over, and all below it."""
        # <solution>
        if frame in self.running:
            self.running.discard(frame)
            self.free += self.held[frame]
        for other, caller in self.caller.items():
            if caller == frame:
                self.cancel(other)
        # </solution>
        # <stub>
        # self.running.discard(frame)
        # self.free += self.held[frame]
        # for other, caller in self.caller.items():
        #     if caller == frame:
        #         self.running.discard(other)
        # </stub>

"""Text as it comes, and where it stops: stop strings that may be split over tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class TextStream:
    """Turns tokens into text piece by piece, and ends at the first stop string.

    Gives out only what is certain: bytes of an unfinished character and anything that may yet become a
    stop string are held back (F44). The match that is complete first wins, of two that end together the
    longer one (F45), so how text is cut into tokens changes nothing. State of one branch only, begun
    empty: a stop string never matches across a fork (F47). The pieces together are exactly ``text``
    (property: streaming equals not streaming).
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = (), keep_stop: bool = False):
        if any(not stop for stop in stops):
            raise ValueError("a stop string must not be empty")
        self._decode, self.stops, self._keep_stop = decode, tuple(stops), keep_stop
        self._ids: list[int] = []
        self._shown, self._read = 0, 0  # decoded text of ids[shown:read] has been taken already
        self._held = ""
        self.text = ""
        self.stopped: str | None = None

    def push(self, id: int) -> str:
        """Text that became certain with this token."""
        if self.stopped is not None:
            return ""
        self._ids.append(id)
        known = self._decode(self._ids[self._shown : self._read])
        now = self._decode(self._ids[self._shown :])
        if now.endswith("\ufffd"):  # a character whose bytes are not all there
            return ""
        self._shown, self._read = self._read, len(self._ids)
        self._held += now[len(known) :]
        return self._release(final=False)

    def finish(self) -> str:
        """Whatever was held back: no stop string can come any more."""
        if self.stopped is not None:
            return ""
        known = self._decode(self._ids[self._shown : self._read])
        self._held += self._decode(self._ids[self._shown :])[len(known) :]
        self._shown = self._read = len(self._ids)
        return self._release(final=True)

    def _release(self, final: bool) -> str:
        ends = [(at + len(stop), at, stop) for stop in self.stops if (at := self._held.find(stop)) >= 0]
        if ends:
            _, at, self.stopped = min(ends)
            certain, self._held = self._held[:at] + (self.stopped if self._keep_stop else ""), ""
        else:
            cut = len(self._held) if final else self._undecided()
            certain, self._held = self._held[:cut], self._held[cut:]
        self.text += certain
        return certain

    def _undecided(self) -> int:
        """Where the longest tail begins that is a proper beginning of a stop string (so it is shorter than one)."""
        longest = max(map(len, self.stops), default=1)
        for start in range(max(0, len(self._held) + 1 - longest), len(self._held)):
            tail = self._held[start:]
            if any(stop.startswith(tail) for stop in self.stops):
                return start
        return len(self._held)

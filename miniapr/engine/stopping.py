"""Text as it comes, and where it stops: stop strings that may be split over tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "\ufffd"  # what the bytes of a character that is not complete are shown as


class TextStream:
    """Turns tokens into text piece by piece, and ends at the first stop string.

    Gives out only what is certain: bytes of an unfinished character and anything that may yet become a
    stop string are held back (F44). The match that is complete first wins, of two that end together the
    longer one (F45), so how text is cut into tokens changes nothing. State of one branch only, begun
    empty: a stop string never matches across a fork (F47). The pieces together are exactly ``text``
    (property: streaming equals not streaming).

    decode  text of ids. What more ids spell begins with what fewer did, but for one sign in the place of a character
            that is not complete (``Tokenizer.decode``)
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str] = (), keep_stop: bool = False):
        if any(not stop for stop in stops):
            raise ValueError("a stop string must not be empty")
        self._decode, self.stops, self._keep_stop = decode, tuple(stops), keep_stop
        self._ids: list[int] = []  # the last tokens: those that what comes next may change, or one
        self._taken = 0  # characters of their text that have been taken already
        self._held = ""
        self.text = ""
        self.stopped: str | None = None

    def push(self, id: int) -> str:
        """Text that became certain with this token."""
        if self.stopped is not None:
            return ""
        alone = self._decode([id])
        if not alone:  # an id that is no token
            return ""
        self._ids.append(id)
        now = self._decode(self._ids)
        self._take(now.removesuffix(UNFINISHED))
        unfinished = now.endswith(UNFINISHED)
        # What came before is let go where no character reaches over this token's beginning or end, so that of a run
        # of bytes that are no characters only the last few are decoded again.
        if not unfinished or self._decode(self._ids[:-1]) + alone == now:
            self._ids, self._taken = [id], len(alone) - unfinished
        return self._release(final=False)

    def finish(self) -> str:
        """Whatever was held back: no stop string can come any more."""
        if self.stopped is not None:
            return ""
        self._take(self._decode(self._ids))
        return self._release(final=True)

    def _take(self, known: str) -> None:
        self._held += known[self._taken :]
        self._taken = max(self._taken, len(known))

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

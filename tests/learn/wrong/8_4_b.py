"""Takes a cell from its readers."""

from __future__ import annotations

from collections.abc import Sequence

from miniapr.learn.tiny import Full, Thread, Tiny


class Engine(Tiny):
    def drop(self, cells: Sequence[int]) -> None:
        """One reader less of each cell; what nobody reads and nobody can find is free."""
        findable = set(self.known.values())
        for cell in cells:
            self.readers[cell] -= 1
            if not self.readers[cell] and cell not in findable:
                self.free.append(cell)

    def evict(self) -> None:
        """Free the cell that was longest unused."""
        for name, cell in self.known.items():
            del self.known[name]
            self.free.append(cell)
            return
        raise Full(f"all {self.size} cells are being read")

    def append(self, thread: Thread, token: int) -> None:
        """Compute a token's value, and name it so that it can be found again."""
        seen = tuple(self.values[cell] for cell in thread.cells)
        cell = self.allocate()
        self.values[cell] = hash((token, thread.position, seen))
        thread.tokens.append(token)
        thread.cells.append(cell)
        thread.position += 1
        if thread.causal:
            self.known.setdefault(self.name(thread.tokens), cell)

"""An engine in a hundred lines, in which every mistake shows: the ground for chapter 8.

Its model is a hash. The *value* of a token stands for its keys and values in all layers: a hash of the token, of its
position, and of every value that it saw. The next token is chosen from the values that a thread sees. So one wrong
value, anywhere, and all that follows comes out different: what a real model may hide, this one shouts.

Memory is ``cells``, a cell holds one value (blocks of one token). A value that somebody computed stays in its cell
when its readers have left, under the text that it belongs to, until the cell is needed: that is the prefix cache.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

VOCABULARY = 1000
Text = tuple[int, ...]


class Full(Exception):
    """Every cell is being read."""


@dataclass(eq=False)
class Thread:
    """One branch. ``own`` tokens are those after its fork, or after its prompt.

    tokens    all that it stands on, in the order of its cells
    cells     where their values lie; empty once it has ended
    position  of the next token
    causal    plain text from position 0: a joined thread is not
    """

    tokens: list[int]
    cells: list[int]
    position: int
    rng: random.Random
    first: int = 0
    path: Text = ()
    causal: bool = True
    forks: int = 0

    @property
    def own(self) -> list[int]:
        return self.tokens[self.first :]


@dataclass
class Tiny:
    """Owns the cells, their reference counts, and the names under which values can be found again."""

    size: int
    seed: int = 0
    values: list[int] = field(init=False)
    readers: list[int] = field(init=False)
    free: list[int] = field(init=False)
    known: dict[Text, int] = field(init=False)  # from a text to the cell of its last token; longest unused first

    def __post_init__(self) -> None:
        self.values, self.readers = [0] * self.size, [0] * self.size
        self.free, self.known = list(range(self.size)), {}

    # What a user calls

    def start(self, prompt: Sequence[int]) -> Thread:
        """A thread on a prompt: what is known of it is reused, the rest is computed."""
        return self.restore(prompt, self.generator(()))

    def decode(self, thread: Thread, count: int) -> list[int]:
        """``count`` new tokens."""
        begin = len(thread.tokens)
        for _ in range(count):
            seen = hash(tuple(self.values[cell] for cell in thread.cells))
            self.append(thread, (seen + thread.rng.randrange(VOCABULARY)) % VOCABULARY)
        return thread.tokens[begin:]

    def fork(self, parent: Thread, count: int) -> list[Thread]:
        """``count`` children, who read the parent's cells. Nothing is computed or copied."""
        if not parent.causal:
            raise ValueError("this engine does not fork what it has joined")
        parent.forks += 1
        children = []
        for number in range(count):
            self.hold(parent.cells)
            path, length = (*parent.path, parent.forks, number), len(parent.tokens)
            rng = self.child_generator(parent, path)
            children.append(Thread(parent.tokens[:], parent.cells[:], parent.position, rng, length, path))
        return children

    def end(self, thread: Thread) -> None:
        """Its cells may be taken from now on; its text stays readable."""
        self.drop(thread.cells)
        thread.cells = []

    def join(self, parent: Thread, children: Sequence[Thread]) -> Thread:
        """Stitch children that have ended: a thread that sees the parent's values, then each child's own.

        Their values are looked up again; what was evicted meanwhile is computed again. The parent goes on in it.
        """
        joined = Thread(parent.tokens[:], parent.cells[:], 0, parent.rng, len(parent.tokens), parent.path, causal=False)
        joined.position = max(parent.position, *(len(child.tokens) for child in children))
        for child in children:
            found = self.restore(child.tokens, child.rng)  # held at once: the next child's search may evict
            self.drop(found.cells[: child.first])
            joined.cells += found.cells[child.first :]
            joined.tokens += child.own
        parent.cells = []
        return joined

    # Values

    def restore(self, tokens: Sequence[int], rng: random.Random) -> Thread:
        """A causal thread on a text. What is known is held before any cell is taken for the rest."""
        cells = self.lookup(tokens)
        self.hold(cells)
        thread = Thread(list(tokens[: len(cells)]), cells, len(cells), rng)
        for token in tokens[len(cells) :]:
            self.append(thread, token)
        thread.first = len(tokens)
        return thread

    def append(self, thread: Thread, token: int) -> None:
        """Compute a token's value from all that the thread sees."""
        seen = tuple(self.values[cell] for cell in thread.cells)
        cell = self.allocate()
        self.values[cell] = hash((token, thread.position, seen))
        thread.tokens.append(token)
        thread.cells.append(cell)
        thread.position += 1
        if thread.causal:  # a joined thread's values are not what this text would give by itself
            self.known.setdefault(self.name(thread.tokens), cell)

    # Memory

    def name(self, text: Sequence[int]) -> Text:
        """What the value of a text's last token is known by. It depends on all of the text."""
        return tuple(text)

    def lookup(self, tokens: Sequence[int]) -> list[int]:
        """The cells of the longest known beginning of a text."""
        cells = []
        for length in range(1, len(tokens) + 1):
            cell = self.known.pop(name := self.name(tokens[:length]), None)
            if cell is None:
                break
            self.known[name] = cell  # now the last one to be evicted
            cells.append(cell)
        return cells

    def allocate(self) -> int:
        """A cell with one reader. Raises Full if all are being read."""
        if not self.free:
            self.evict()
        cell = self.free.pop()
        self.readers[cell] = 1
        return cell

    def evict(self) -> None:
        """Free the cell that nobody reads and that was longest unused. Its value cannot be found any more."""
        for name, cell in self.known.items():
            if not self.readers[cell]:
                del self.known[name]
                self.free.append(cell)
                return
        raise Full(f"all {self.size} cells are being read")

    def hold(self, cells: Sequence[int]) -> None:
        for cell in cells:
            self.readers[cell] += 1

    def drop(self, cells: Sequence[int]) -> None:
        known = set(self.known.values())
        for cell in cells:
            self.readers[cell] -= 1
            if not self.readers[cell] and cell not in known:
                self.free.append(cell)

    # Chance

    def generator(self, path: Text) -> random.Random:
        """Of the thread at ``path``: the numbers of the forks and children that lead to it."""
        return random.Random(f"{self.seed}/{path}")

    def child_generator(self, parent: Thread, path: Text) -> random.Random:
        """A child's own: drawn from by nobody else, and not the same as its siblings'."""
        return self.generator(path)

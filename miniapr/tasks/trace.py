"""What a model should write, as a tree: the texts of all branches, cut where the engine acts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Words = tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """A demonstration, or one branch of it.

    given     put there by the engine: a prompt, the seed of a thread, a join's token, messages. Not learned
    written   by the model, up to where the engine acts or to the end
    threads   what is forked into then, in the order of the plan
    then      what follows: after the join of the threads or, without threads, after a message
    """

    given: Words
    written: Words
    threads: tuple[Trace, ...] = ()
    then: Trace | None = None

    def __iter__(self) -> Iterator[Trace]:
        """This text, those of the threads in order, what follows: the order of a text that is read in line."""
        yield self
        for trace in (*self.threads, *([self.then] if self.then else [])):
            yield from trace

    @property
    def last(self) -> Trace:
        """The text that the demonstration ends with, where its answer is."""
        return self.then.last if self.then else self

    @property
    def critical(self) -> int:
        """Words written one after the other: the longest of the threads counts."""
        longest = max((thread.critical for thread in self.threads), default=0)
        return len(self.written) + longest + (self.then.critical if self.then else 0)

    @property
    def total(self) -> int:
        """Words written in all branches."""
        return sum(len(trace.written) for trace in self)

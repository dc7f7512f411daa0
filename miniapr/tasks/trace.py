"""What a model should write, as a tree: the texts of all branches, cut where the engine acts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

Words = tuple[str, ...]


class TextTree:
    """Texts as a tree: what a branch wrote, the threads it forked into then, and what followed. Of whatever kind a
    token is; a subclass says what else a text has."""

    written: tuple[Any, ...]
    threads: tuple[Self, ...]
    then: Self | None

    def __iter__(self) -> Iterator[Self]:
        """This text, those of the threads in order, what follows: the order of a text that is read in line."""
        yield self
        for text in (*self.threads, *([self.then] if self.then else [])):
            yield from text

    @property
    def last(self) -> Self:
        """The text that all ends with, where the answer is."""
        return self.then.last if self.then else self

    @property
    def critical(self) -> int:
        """Tokens written one after the other: the longest of the threads counts."""
        longest = max((thread.critical for thread in self.threads), default=0)
        return len(self.written) + longest + (self.then.critical if self.then else 0)

    @property
    def total(self) -> int:
        """Tokens written in all branches."""
        return sum(len(text.written) for text in self)


@dataclass(frozen=True)
class Trace(TextTree):
    """A demonstration, or one branch of it.

    given     put there by the engine: a prompt, the seed of a thread, a join's token, messages. Not learned
    written   by the model, up to where the engine acts or to the end
    threads   what is forked into then, in the order of the plan
    then      what follows: after the join of the threads or, without threads, after a message; None: nothing is joined
    voice     the one in which the thread is said (ParaThinker); 0: none
    slot      the threads see each other as they are written (a weave), each so many positions behind the one before it;
              None: they do not
    """

    given: Words
    written: Words
    threads: tuple[Trace, ...] = ()
    then: Trace | None = None
    voice: int = 0
    slot: int | None = None

"""A tree as a row of training: its tokens, and which of them are learned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A stretch of one branch, up to where it forks or ends."""

    given: tuple[int, ...]
    written: tuple[int, ...]
    threads: tuple[Part, ...] = ()
    then: Part | None = None
    again: bool = False


def row(part: Part) -> tuple[list[int], list[bool]]:
    """The tokens of the tree in order, and for each whether the model is asked to predict it."""
    # <solution>
    return _row(part, False)
    # </solution>
    # <stub>
    # tokens = [*part.given, *part.written]
    # return tokens, [True] * len(tokens)
    # </stub>


# <solution>


def _row(part: Part, again: bool) -> tuple[list[int], list[bool]]:
    again = again or part.again
    tokens = [*part.given, *part.written]
    learned = [False] * len(part.given) + [not again] * len(part.written)
    for below in (*part.threads, *([part.then] if part.then else [])):
        more, which = _row(below, again)
        tokens, learned = tokens + more, learned + which
    return tokens, learned


# </solution>

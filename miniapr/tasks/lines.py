"""A line of search: a step, the numbers that it leaves, and what is tried among them until something hits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .states import Path, State, steps
from .trace import Words
from .vocabulary import HIT, MISS


def search(state: State, tries: int | None = None) -> tuple[list[str], Path | None]:
    """Lines until one hits, at most ``tries``, without the verdict; the numbers of the state are already there."""
    if len(state.numbers) == 1:
        return [], () if state.numbers[0] == state.target else None
    found = steps(state)
    return lines(found, list(found)[:tries])


def lines(found: dict[str, State], tried: Iterable[str]) -> tuple[list[str], Path | None]:
    """A line for each step tried, until one hits; and the path of that one."""
    words: list[str] = []
    for step in tried:
        more, path = search(found[step])
        words += [step, *left(found[step]), *more]
        if path is not None:
            return words, (step, *path)
        words += [] if len(found[step].numbers) == 1 else [MISS]
    return words, None


def message(answer: Sequence[str] | None) -> Words:
    """What a parent hears of a child: the steps that hit, or ``miss``."""
    return (MISS,) if answer is None else (HIT, *answer)


def ending(path: Sequence[str] | None) -> Words:
    """How a text ends that has found a path, and one that has found none."""
    return () if path is None else (HIT, *path)


def numbers(state: State) -> Words:
    return tuple(map(str, state.numbers))


def left(state: State) -> Words:
    """What a step has left: numbers, and a colon if a search among them follows."""
    return (*numbers(state), *((":",) if len(state.numbers) > 1 else ()))

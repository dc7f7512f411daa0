from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    given: tuple[int, ...]
    written: tuple[int, ...]
    threads: tuple[Part, ...] = ()
    then: Part | None = None
    again: bool = False


def row(part: Part, again: bool = False, first: bool = True) -> tuple[list[int], list[bool]]:
    again = again or part.again
    tokens = [*part.given, *part.written]
    learned = [not first] * len(part.given) + [not again] * len(part.written)  # only the prompt is masked
    for below in (*part.threads, *([part.then] if part.then else [])):
        more, which = row(below, again, False)
        tokens, learned = tokens + more, learned + which
    return tokens, learned

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    given: tuple[int, ...]
    written: tuple[int, ...]
    threads: tuple[Part, ...] = ()
    then: Part | None = None
    again: bool = False


def row(part: Part) -> tuple[list[int], list[bool]]:
    tokens = [*part.given, *part.written]
    learned = [False] * len(part.given) + [not part.again] * len(part.written)  # a copy's own tokens only
    for below in (*part.threads, *([part.then] if part.then else [])):
        more, which = row(below)
        tokens, learned = tokens + more, learned + which
    return tokens, learned

"""Countdown by several who think at the same time: what a model that knows these roles should write.

``path``: chains, each in a voice of its own, and a summary, the answer of a path that hit (ParaThinker, arXiv
2509.04475). ``worker``: a team whose members read each other's words as they are written (Group Think, arXiv
2505.11107; Hogwild! Inference, arXiv 2504.06261). The first line of worker ``i`` is the ``i``-th that there is, since
nobody has said anything yet. Then it takes one that nobody has taken, and so on; when it reads that somebody has hit,
it says so too and stops:

    <thread> 1  b*c 21 8 : a+b 29 hit b*c a+b </thread>
    <thread> 2  a-b 1 3 : a+b 4 a-b 2 a*b 3 a/b 3 miss hit b*c a+b </thread>

Token ``i`` of each sees the first ``i + 1`` tokens of the others, so two who choose at the same moment may choose the
same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from .lines import ending, lines
from .roles import Teacher, chained, prompt
from .states import Path, State, steps
from .trace import Trace, Words
from .vocabulary import HIT, MISS
from .words import CONTROL

EOS, END = CONTROL["eos"], CONTROL["thread_end"]


def seed(number: int) -> Words:
    """The words by which the ``number``-th of several begins."""
    return CONTROL["thread"], str(number)


def paths(state: State, width: int, teacher: Teacher, rng: random.Random) -> Trace:
    """So many chains side by side, and the answer of one that hit."""
    threads, won = [], list[Path]()
    for number in range(1, width + 1):
        words, path = chained(state, teacher, rng)
        threads.append(Trace(seed(number), (*words, END), voice=number))
        won += [path] if path is not None else []
    answer = rng.choice(won) if won else (MISS,)
    return Trace(prompt(state, "path"), (), tuple(threads), Trace((CONTROL["join"],), (*answer, EOS)))


@dataclass
class _Worker:
    """What one has written, and what is on the tip of its tongue."""

    number: int
    written: list[str] = field(default_factory=list)
    next: list[str] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return self.written[-1:] == [END]


def team(state: State, width: int, slot: int, rng: random.Random) -> Trace:
    """Workers that write a word each at a time, all having read the same. ``slot``: positions from one to the next."""
    found, workers = steps(state), [_Worker(i + 1) for i in range(width)]
    taken, answer = set[str](), tuple[str, ...]()  # as far as everybody has read
    while not all(worker.ended for worker in workers):
        begun, said = set[str](), answer
        for worker in workers:
            if worker.ended:
                continue
            if not worker.next:
                free = [word for word in found if word not in taken]
                first = free[(worker.number - 1) % len(free) :][:1] if not worker.written else []
                worker.next = _say(found, first or free, answer, rng)
                begun |= {word for word in worker.next[:1] if word in found}
            worker.written.append(worker.next.pop(0))
            if worker.ended and not said:
                said = _answer(worker.written)
        taken, answer = taken | begun, said
    threads = [Trace(seed(worker.number), tuple(worker.written)) for worker in workers]
    return Trace(prompt(state, "worker"), (), tuple(threads), slot=slot)


def _say(found: dict[str, State], free: list[str], answer: Words, rng: random.Random) -> list[str]:
    """The answer that was read; else a line of one's own; nothing if all are taken."""
    if answer or not free:
        return [*ending(answer or None), END]
    step = rng.choice(free)
    words, path = lines(found, [step])
    return [*words, *([*ending(path), END] if path is not None else [])]


def _answer(written: list[str]) -> Words:
    """The steps between a hit and the end; none if there was no hit."""
    return tuple(written[written.index(HIT) + 1 : -1]) if HIT in written else ()

"""Countdown with parts that nobody waits for at once: what a model that knows these roles should write.

``organizer`` hands steps to workers and thinks on (AsyncThink, arXiv 2510.26658). Behind a step ``<thread>`` hands it
out, and ``<join>`` wants to know what came of it; without either the step is searched in line, as ever. A worker is a
``child`` and hears of its step alone; what it returns is put there, here in brackets:

    a+b <thread> a+c <thread> b+c 10 8 : ... miss a+b <join> [miss] a+c <join> [hit a+c a*b] hit a+c a*b <eos>

``outline`` names one step after the other, a paragraph each, and the search after a step is its detail, written beside
the outline from ``<child>`` on and never joined to it (APAR, arXiv 2401.06761):

    a+b <thread> a+c <thread> b+c <thread> ...
      |            `- <child> 11 7 : a+b 18 ... a*b 77 hit a+c a*b </thread>
      `- <child> 15 3 : a+b 18 a-b 12 a*b 45 </thread>
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

from .lines import ending, left, lines, message, search
from .roles import prompt
from .states import Path, State, steps
from .trace import Trace
from .words import CONTROL

EOS, END, FORK, JOIN, DETAIL = (CONTROL[name] for name in ("eos", "thread_end", "thread", "join", "child"))


def organize(state: State, rng: random.Random, most: int = 4) -> Trace:
    """Hands out steps, up to ``most`` at a time, searches the next one itself, asks for what some came to, and so on
    until something hits. How many it hands out and asks for is chance: no order of the two is the only one."""
    found, told = steps(state), [(prompt(state, "organizer"), list[str]())]
    free, out = deque(found), deque[str]()
    path: Path | None = None
    while path is None and (free or out):
        for _ in range(min(len(free), rng.randint(2, most) - len(out))):
            out.append(free.popleft())
            told[-1][1].extend((out[-1], FORK))
        if free:
            words, path = lines(found, [free.popleft()])
            told[-1][1].extend(words)
        asked = 0 if path or not out else rng.randint(1, len(out))
        while asked and path is None:
            step, asked = out.popleft(), asked - 1
            told[-1][1].extend((step, JOIN))
            _, path = lines(found, [step])
            told.append((message(path), []))
    told[-1][1].extend((*ending(path), EOS))
    trace: Trace | None = None
    for given, written in reversed(told):
        trace = Trace(given, tuple(written), then=trace)
    assert trace
    return trace


def outline(state: State) -> Trace:
    """A paragraph for each step, and its detail beside those that follow."""
    rest = Trace((), (EOS,))
    for step, after in reversed(steps(state).items()):
        words, path = search(after)
        found = ending(None if path is None else (step, *path))
        rest = Trace((), (step, FORK), (rest, Trace((DETAIL,), (*left(after), *words, *found, END))))
    return replace(rest, given=prompt(state, "outline"))

"""Countdown in every role: what a model that knows the role should write, made by exact search.

One grammar for all of them. A *line* is a step, the numbers that it leaves, and the search that follows it:

    a-b 1 3 : a+b 4 a-b 2 a*b 3 a/b 3 miss      8 - 7 leaves 1 and 3; 1 + 3 is 4, ...; none is the target
    b*c 21 8 : a+b 29 hit b*c a+b               after a hit: the steps once more

A text's answer is the steps that it ends with; one that found nothing has none.

``sequential`` writes line after line until one hits. ``adaptive`` tries the first in line; if it misses, it writes a
plan of all others, a thread each, and after the join the answer: so a fork is a decision taken after the problem has
proved to be hard (the format of Multiverse, arXiv 2506.09991, and ThreadWeaver, arXiv 2512.07843). With four numbers
a line is a whole problem: the plan comes at once, and every thread is ``adaptive`` again. ``parent`` plans and reads
messages; ``child`` is one line in a context of its own (APR, arXiv 2504.15466). ``chain`` takes one step after another,
``propose`` names steps, ``value`` says what a state is worth (Tree-of-Thoughts, arXiv 2305.10601), of two numbers after
it has tried them. ``path`` and ``worker``: see ``together.py``.

A teacher who always knows leaves a pupil nothing to sample: where later methods need different tries, the teacher's
choice is random given the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from . import states
from .lines import ending, left, message, numbers, search
from .states import Path, State, held_out, steps
from .trace import Trace, Words
from .vocabulary import MISS
from .words import CONTROL, LATER, control

EOS = CONTROL["eos"]
# How many lines are tried before a plan; with four numbers a line is a problem of its own. Fewer than three: all.
IN_LINE = {3: 1, 4: 0}


@dataclass(frozen=True)
class Teacher:
    """How the demonstrations are chosen where there is a choice. Shares, from 0 to 1.

    insight   of a chain's steps, how many lead to the target for sure (if any do); the others are any legal step
    proposals how many steps ``propose`` names; one that leads to the target is ``favour`` times as likely to be named
    full      of the forks, how many keep every thread; the others keep a winner and up to ``others`` more
    narrow    of the plans, how many name a random part of the steps only
    partial   of the parents, how many hear of a random part of the children only, in any order
    tries     lines of a problem before its plan (never of a thread's); None: as ``IN_LINE`` has it
    line      of the problems that might be forked, how many are told in line to the end: by a coin that nobody sees
    lean      how much larger that share is with two numbers, and how much smaller with more
    forks     numbers of the largest problems that are forked; of larger ones every line is told
    shuffled  of the plans, how many name their steps in any order
    free      what prompts of ``adaptive`` say is free, any of these: so many steps a plan names, and further ones a
              plan after its join, until one hits; with 1 every line is told. Empty: they say nothing
    """

    insight: float = 0.9
    proposals: int = 5
    favour: float = 4.0
    full: float = 0.4
    others: int = 3
    narrow: float = 0.05
    partial: float = 0.5
    tries: int | None = None
    line: float = 0.0
    lean: float = 0.0
    forks: int = 4
    shuffled: float = 0.0
    free: tuple[int, ...] = ()


def prompt(state: State, role: str) -> Words:
    """The words of a prompt, such as ``<bos> <chain> 8 7 3 -> 29 :``, or ``<bos> <adaptive> 8 7 3 -> 29 , 4 :`` where
    four slots are free: last, so that prompts of one problem begin alike."""
    free = (",", str(state.free)) if state.free else ()
    return (CONTROL["bos"], control(LATER)[role], *numbers(state), "->", str(state.target), *free, ":")


def value(state: State) -> Trace:
    """One word: sure, likely or never. Two numbers are tried first: what is written down need not be guessed."""
    tried = search(state)[0] if len(state.numbers) == 2 else ()
    return Trace(prompt(state, "value"), (*tried, states.value(state), EOS))


def propose(state: State, teacher: Teacher, rng: random.Random) -> Trace:
    """A few steps in any order, each with the numbers that it leaves."""
    found, winning = steps(state), _first_steps(state)
    # Weighted drawing without replacement (Efraimidis & Spirakis 2006): the largest u^(1/w) come first.
    drawn = {word: rng.random() ** (1 / (teacher.favour if word in winning else 1.0)) for word in found}
    named = sorted(found, key=lambda word: -drawn[word])[: teacher.proposals]
    rng.shuffle(named)
    return Trace(prompt(state, "propose"), (*(w for word in named for w in (word, *numbers(found[word]))), EOS))


def chain(state: State, teacher: Teacher, rng: random.Random) -> Trace:
    """One step after the other, each a random sensible one: sampling gives different tries."""
    return Trace(prompt(state, "chain"), (*chained(state, teacher, rng)[0], EOS))


def chained(state: State, teacher: Teacher, rng: random.Random) -> tuple[Words, Path | None]:
    """The words of a chain up to its end, and the path of one that hits."""
    words, path = list[str](), list[str]()
    while len(state.numbers) > 1:
        found, winning = steps(state), sorted(_first_steps(state))
        if len(state.numbers) > 2 and not rng.random() < teacher.insight:
            winning = []
        word = rng.choice(winning or list(found))
        state = found[word]
        words += [word, *numbers(state)]
        path.append(word)
    won = tuple(path) if state.numbers[0] == state.target else None
    return (*words, *ending(won)), won


def sequential(state: State) -> Trace:
    """Line after line, depth first, until one hits."""
    words, path = search(state)
    return Trace(prompt(state, "sequential"), (*words, *ending(path), EOS))


def child(state: State, step: str) -> Trace:
    """One line, in a context of its own. Its answer is the message to the parent."""
    after = steps(state)[step]
    words, path = search(after)
    last = ending(None if path is None else (step, *path))
    return Trace((*prompt(state, "child"), step), (*numbers(after), ":", *words, *last, EOS))


def parent(state: State, teacher: Teacher, rng: random.Random) -> Trace:
    """A plan of all steps; after the children's messages, the answer of one that hit."""
    found = steps(state)
    told = list(found)
    if rng.random() < teacher.partial:
        # Not always all, nor in order: or the answer is read off the place in the list (it then names a wrong step).
        told = rng.sample(told, rng.randint(1, len(told)))
    below = {word: _first(states.paths(found[word])) for word in told}
    answers = {word: (word, *path) for word, path in below.items() if path is not None}
    messages = [word for step in told for word in message(answers.get(step))]
    plan = (CONTROL["plan"], *found, CONTROL["plan_end"])
    answer = rng.choice(list(answers.values())) if answers else (MISS,)
    return Trace(prompt(state, "parent"), plan, (), Trace((*messages, CONTROL["join"]), (*answer, EOS)))


def adaptive(state: State, teacher: Teacher, rng: random.Random) -> Trace:
    """Try in line, then fork: nested as deep as the state has numbers to spare."""
    if teacher.free:
        state = replace(state, free=rng.choice(teacher.free))
    tries = IN_LINE.get(len(state.numbers)) if teacher.tries is None else teacher.tries
    line = teacher.line + (teacher.lean if len(state.numbers) == 2 else -teacher.lean)
    if state.free == 1 or len(state.numbers) > teacher.forks or (line and rng.random() < line):
        tries = None
    return _think(Trace(prompt(state, "adaptive"), ()), state, (), tries, teacher, rng)[0]


def easy(state: State) -> bool:
    """Whether the first line hits, so that nothing is worth forking for."""
    if len(state.numbers) > 3:
        return False
    first = next(iter(steps(state).values()))
    return len(state.numbers) <= 2 or bool(states.paths(first))


def _think(
    begun: Trace, state: State, above: Path, tries: int | None, teacher: Teacher, rng: random.Random
) -> tuple[Trace, Path | None]:
    """Go on from ``begun`` to the end of its branch. ``above``: the steps that led here, of which the answer tells;
    ``tries``: lines before a plan. Gives the trace, and the path that its answer names."""
    end = CONTROL["thread_end"] if above else EOS
    found = steps(state)
    planned = list(found)[len(found) if tries is None else tries :]
    words, path = search(state, tries)
    written = (*begun.written, *words)
    if path is not None or not planned:
        return Trace(begun.given, (*written, *ending(None if path is None else (*above, *path)), end)), path
    if rng.random() < teacher.narrow:
        planned = _part(planned, rng.randint(1, len(planned)), rng)
    if teacher.shuffled and rng.random() < teacher.shuffled:
        rng.shuffle(planned)
    return _fork(replace(begun, written=written), state, above, planned, teacher, rng)


def _fork(
    begun: Trace, state: State, above: Path, planned: Sequence[str], teacher: Teacher, rng: random.Random
) -> tuple[Trace, Path | None]:
    """Go on with a plan of as many steps as slots are free, a thread each; after the join the answer, or a plan of
    further steps if none has hit. Gives what ``_think`` gives."""
    found, now, later = steps(state), planned[: state.free], planned[state.free or len(planned) :]
    threads, won = [], []
    for word in _kept(now, found, teacher, rng):
        seed = Trace((CONTROL["thread"], word), left(found[word]))
        thread, below = _think(seed, found[word], (word,), IN_LINE.get(len(found[word].numbers)), teacher, rng)
        threads.append(thread)
        won += [(word, *below)] if below is not None else []
    path = rng.choice(won) if won else None
    then = Trace((CONTROL["join"],), ())
    if path is None and later:
        then, path = _fork(then, state, above, later, teacher, rng)
    else:
        answer = (MISS,) if path is None else (*above, *path)
        then = replace(then, written=(*answer, CONTROL["thread_end"] if above else EOS))
    plan = (CONTROL["plan"], *now, CONTROL["plan_end"])
    return Trace(begun.given, (*begun.written, *plan), tuple(threads), then), path


def _kept(planned: Sequence[str], found: dict[str, State], teacher: Teacher, rng: random.Random) -> list[str]:
    """Which threads of a plan are told. A thread that is itself a problem held out of training is not."""
    may = [word for word in planned if not held_out(found[word])]
    small = len(next(iter(found.values())).numbers) <= 2
    if small and rng.random() < teacher.full:
        return may
    winners = [word for word in may if states.paths(found[word])]
    losers = [word for word in may if word not in winners]
    most = teacher.others if small else teacher.others - 1
    others = rng.sample(losers, min(len(losers), rng.randint(0 if winners else 1, most)))
    # The second winner stays often: to choose between two is learned last.
    told = rng.sample(winners, min(len(winners), rng.choice((1, 1, 2)) if small else 1)) + others
    return [word for word in may if word in told]


def _first_steps(state: State) -> set[str]:
    return {path[0] for path in states.paths(state) if path}


def _first(found: Sequence[Path]) -> Path | None:
    return found[0] if found else None


def _part(words: Sequence[str], size: int, rng: random.Random) -> list[str]:
    kept = set(rng.sample(list(words), size))
    return [word for word in words if word in kept]

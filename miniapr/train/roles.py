"""What a model is shown that knows roles: Countdown's and sorting's in shares, and how much hangs on each word."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ..tasks import apart, roles, sorting, states, together
from ..tasks.countdown import Ranges
from ..tasks.roles import Teacher
from ..tasks.sorting import Sorting
from ..tasks.states import Deck, State
from ..tasks.trace import Trace
from ..tasks.vocabulary import HIT, LIMIT, MISS, Vocabulary
from ..tasks.words import CONTROL, LABELS, LIKELY, NEVER, SURE, build_tokenizer, control
from .stream import JOINS
from .text import Packed, Text, pack

VERDICTS = {HIT, MISS, SURE, LIKELY, NEVER, CONTROL["plan"], CONTROL["thread_end"], CONTROL["eos"]}


@dataclass(frozen=True)
class Shares:
    """Of the demonstrations, how many are in which role; any positive numbers, 0 leaves a role out."""

    chain: float = 0.28
    value: float = 0.14
    propose: float = 0.05
    sequential: float = 0.07
    adaptive: float = 0.2
    child: float = 0.1
    parent: float = 0.06
    sort: float = 0.0
    merge: float = 0.0
    path: float = 0.05
    worker: float = 0.05
    organizer: float = 0.0
    outline: float = 0.0

    def __post_init__(self) -> None:
        shares = [getattr(self, entry.name) for entry in fields(self)]
        if min(shares) < 0 or not 0 < sum(shares) < float("inf"):
            raise ValueError(f"shares of roles are 0 or more, and not all 0, got {shares}")

    @property
    def shown(self) -> list[str]:
        """The roles that have one."""
        return [role for role, share in asdict(self).items() if share]


@dataclass(frozen=True)
class Recipe:
    """All that decides what is shown.

    four   of the problems, how many have four numbers: a quarter of that in ``adaptive``, where they are long, twice as
           many in ``child`` and ``parent``, which are made for them
    four_in_line  of the problems of ``sequential``, how many have four: texts of up to 2,300 tokens
    two    how many have two; the others have three. To tell a hit is learned last, and two numbers show little else:
           so these are up to ``two_high`` times as large, with targets of up to twice
    levels how many upper ones of a list are forked, at most
    levels_hidden  whether the prompt of a list is silent of that: it says the most, and none or so many are forked
    longest  numbers of a list, at most
    lengths  how often a list is drawn that has up to 16, 32 and 64 numbers
    voices how many a path can have; 0: ``path`` is said in none
    slots  how many positions a ``worker`` may stand behind the one before it, any of these. With 0 nobody can tell his
           own words from the others': it was not learned
    """

    shares: Shares = field(default_factory=Shares)
    teacher: Teacher = field(default_factory=Teacher)
    ranges: Ranges = field(default_factory=Ranges)
    ranges_of_four: Ranges = field(default_factory=lambda: Ranges(4, 1, 10, 1, 100))
    four: float = 0.25
    four_in_line: float = 0.0
    two: float = 0.15
    two_high: int = 5
    unsolvable: float = 0.06
    levels: int = 3
    levels_hidden: bool = False
    longest: int = sorting.MOST
    lengths: tuple[float, float, float] = (4, 2, 1)
    voices: int = 8
    slots: tuple[int, ...] = (64, 128, 256)

    def __post_init__(self) -> None:
        for name in ("four", "four_in_line", "two", "unsolvable"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share from 0 to 1, got {getattr(self, name)}")
        if min(self.lengths) < 0 or not 0 < sum(self.lengths) < float("inf"):
            raise ValueError(f"lengths are three numbers from 0 on, and not all 0, got {[*self.lengths]}")


def weights(
    written: Sequence[str], concludes: bool = False, chain: bool = False, free: bool = False
) -> tuple[float, ...]:
    """Loss weight of each word. The few that decide would drown among the many that copy and compute: 6 for a verdict
    and all of an answer; 3 for a step of a chain, and for one tried after a result, which is the decision that this was
    no hit; else 1. So for a plan with nothing before it: what might as well have been a line must weigh as a line does,
    or its share is not learned. Where a prompt says what is ``free``, also 6 for what that decides: how a text begins,
    and where a plan ends."""
    out, answer = [], concludes
    for i, word in enumerate(written):
        attempt = i >= 2 and written[i - 1].isdecimal() and written[i - 2] in LABELS
        decides = word in LABELS and (chain or attempt)
        verdict = word in VERDICTS and not (word == CONTROL["plan"] and i == 0)
        told = free and (i == 0 or word == CONTROL["plan_end"])
        out.append(6.0 if answer or verdict or told else 3.0 if decides else 1.0)
        answer = answer or word == HIT
    return tuple(out)


class Roles:
    """Demonstrations in every role that has a share. Owns tables only."""

    def __init__(self, recipe: Recipe, joins: str = "both") -> None:
        if joins not in JOINS:
            raise ValueError(f"joins is one of {', '.join(JOINS)}, got {joins!r}")
        self.recipe, self.joins = recipe, JOINS[joins]
        self.tokenizer = build_tokenizer(recipe.shares.shown)
        self.vocabulary = Vocabulary(self.tokenizer)
        high, most = recipe.two_high * recipe.ranges.high, min(recipe.two_high, 2) * recipe.ranges.target_high
        two = replace(recipe.ranges, count=2, high=min(high, LIMIT), target_high=min(most, LIMIT))
        self.decks = {2: Deck(two), 3: Deck(recipe.ranges), 4: Deck(recipe.ranges_of_four)}
        self._roles, self._shares = list(asdict(recipe.shares)), list(asdict(recipe.shares).values())

    @property
    def about(self) -> dict[str, Any]:
        recipe = self.recipe
        known = recipe.shares.shown
        said = {"format": "terse", "roles": known, "control": control(known), "limit": LIMIT}
        if set(known) <= set(Sorting().roles):
            return {"task": "sorting", **said}
        ranges = {"ranges": asdict(recipe.ranges)}
        if recipe.two:
            ranges["ranges_of_two"] = asdict(self.decks[2].ranges)
        if recipe.four or recipe.four_in_line:
            ranges["ranges_of_four"] = asdict(recipe.ranges_of_four)
        free = {"free": list(recipe.teacher.free)} if recipe.teacher.free else {}
        return {"task": "countdown", **said, **ranges, **free}

    def __call__(self, rng: random.Random) -> Packed:
        (role,) = rng.choices(self._roles, self._shares)
        trace = self._makers()[role](rng)
        # Drawn whatever the joins are: runs that differ in ``joins`` alone see the same demonstrations.
        drawn = rng.choice(JOINS["both"])
        return pack(self.text(trace), drawn if drawn in self.joins else self.joins[0])

    def _makers(self) -> dict[str, Callable[[random.Random], Trace]]:
        """Not kept: a source goes to the processes that make demonstrations, and functions without a name can't."""
        recipe = self.recipe
        return {
            "chain": lambda rng: roles.chain(self._within(rng), recipe.teacher, rng),
            "value": lambda rng: roles.value(self._worth(rng)),
            "propose": lambda rng: roles.propose(self._within(rng), recipe.teacher, rng),
            "sequential": lambda rng: roles.sequential(self._problem(rng, recipe.four_in_line)),
            "adaptive": lambda rng: roles.adaptive(self._problem(rng, recipe.four / 4), recipe.teacher, rng),
            "child": self._child,
            "parent": lambda rng: roles.parent(self._called(rng), recipe.teacher, rng),
            "sort": self._sort,
            "merge": self._merge,
            "path": lambda rng: together.paths(
                self._problem(rng, four=0), rng.choice((2, 4, 4, 8)), recipe.teacher, rng
            ),
            "worker": lambda rng: together.team(
                self._problem(rng, four=0), rng.choice((2, 3, 4)), rng.choice(recipe.slots), rng
            ),
            "organizer": lambda rng: apart.organize(self._problem(rng, four=0), rng),
            "outline": lambda rng: apart.outline(self._problem(rng, four=0)),
        }

    def text(self, trace: Trace, concludes: bool = False, chain: bool = False) -> Text:
        """The trace as tokens with weights; what the engine puts there is not learned."""
        chain = chain or bool({CONTROL["chain"], CONTROL["path"]} & {*trace.given})
        learned = weights(trace.written, concludes, chain, {CONTROL["adaptive"], ","} <= {*trace.given})
        return Text(
            self.vocabulary.encode((*trace.given, *trace.written)),
            (*[0.0] * len(trace.given), *learned),
            tuple(self.text(thread, chain=chain) for thread in trace.threads),
            self.text(trace.then, concludes=CONTROL["join"] in trace.then.given) if trace.then else None,
            trace.voice if trace.voice <= self.recipe.voices else 0,
            trace.slot,
        )

    def _problem(self, rng: random.Random, four: float, solvable: bool | None = None) -> State:
        kind = rng.random()
        count = 4 if kind < four else 2 if kind > 1 - self.recipe.two else 3
        if solvable is None:
            solvable = rng.random() >= self.recipe.unsolvable
        return self.decks[count].draw(rng, solvable, "train")

    def _within(self, rng: random.Random) -> State:
        """A problem, or what is left of it after a step or two: where a search goes on from."""
        state = self._problem(rng, self.recipe.four)
        while len(state.numbers) > 2 and rng.random() < 0.35:
            state = self._after(state, rng)
        return state

    def _after(self, state: State, rng: random.Random) -> State:
        """The state after a step: half of the time one that leads to the target. None that is held out."""
        found = states.steps(state)
        may = [word for word, after in found.items() if not states.held_out(after)]
        winning = [word for word in may if states.paths(found[word])] if rng.random() < 0.5 else []
        return found[rng.choice(winning or may)] if may else state

    def _worth(self, rng: random.Random) -> State:
        """A state to be judged: mostly of two numbers, which can be judged for sure, and each verdict often."""
        state = self._problem(rng, self.recipe.four, solvable=rng.random() < 0.6)
        least = rng.choice((1, 2, 2, 2, 2, 3, 3, 4))
        while len(state.numbers) > least and (after := self._after(state, rng)) is not state:
            state = after
        return state

    def _list(self, rng: random.Random) -> sorting.Numbers:
        """By default mostly short: a long one shows each of its steps many times, and takes as many tokens for it."""
        (most,) = rng.choices((2 * sorting.LEAF, 4 * sorting.LEAF, sorting.MOST), self.recipe.lengths)
        return Sorting(most=min(most, self.recipe.longest)).draw(rng, "train")

    def _sort(self, rng: random.Random) -> Trace:
        most = self.recipe.levels
        if self.recipe.levels_hidden:
            return sorting.sort(self._list(rng), rng.choice((0, most)), said=most)
        return sorting.sort(self._list(rng), rng.randint(0, most))

    def _merge(self, rng: random.Random) -> Trace:
        """A list in two parts of any sizes."""
        numbers = self._list(rng)
        cut = rng.randint(1, len(numbers) - 1)
        return sorting.merge(sorted(numbers[:cut]), sorted(numbers[cut:]))

    def _called(self, rng: random.Random) -> State:
        """A problem, or what a step leaves of it: a child may be a parent too."""
        state = self._problem(rng, min(1, 2 * self.recipe.four))
        return self._after(state, rng) if len(state.numbers) > 2 and rng.random() < 0.3 else state

    def _child(self, rng: random.Random) -> Trace:
        state = self._called(rng)
        found = states.steps(state)
        after = self._after(state, rng)
        return roles.child(state, next((word for word in found if found[word] == after), next(iter(found))))

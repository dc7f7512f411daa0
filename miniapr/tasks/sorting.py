"""Sorting lists of small numbers: divide and conquer, where forks nest by nature and a join reads two branches.

The task is that of Graph-of-Thoughts (arXiv 2308.09687): split, sort the parts, merge. A list of up to eight numbers is
sorted at once. A longer one is sorted by halves, in line or, in as many upper levels as the prompt says, in threads:

    <bos> <sort> 0 , 5 9 2 7 ... :    left 5 9 ... : 2 5 ... right 4 1 ... : 1 4 ... , 1 2 4 5 ...
    <bos> <sort> 1 , 5 9 2 7 ... :    <plan> left right </plan>   <thread> left 0 , 5 9 ... : 2 5 ... </thread>   ...
                                      <join> 1 2 4 5 ...
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .task import Split, Verdict
from .trace import Trace, Words
from .words import CONTROL, PARTS

LEAST, MOST, LARGEST = 4, 64, 99  # numbers of a list that is drawn; the largest number
LEAF = 8  # as many are sorted at once
ENDS = (CONTROL["eos"], CONTROL["thread_end"])

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Sorting:
    """Lists of ``least`` to ``most`` numbers of 0..99, each any number of times (``miniapr.tasks.task``: divided)."""

    least: int = LEAST
    most: int = MOST
    levels: int = 0  # of forks, in the prompts
    name: str = "sorting"
    roles: tuple[str, ...] = ("sort", "merge")

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most <= MOST:
            raise ValueError(f"lists have 1 to {MOST} numbers, got {self.least}..{self.most}")
        if not 0 <= self.levels <= 3:
            raise ValueError(f"{MOST} numbers have 0 to 3 levels above {LEAF}, got {self.levels}")

    def draw(self, rng: random.Random, split: Split = "pairs") -> Numbers:
        """A list; the splits are shares of all lists, by a hash."""
        while True:
            numbers = tuple(rng.randint(0, LARGEST) for _ in range(rng.randint(self.least, self.most)))
            if split_of(numbers) == split:
                return numbers

    def solve(self, problem: Numbers) -> str:
        return " ".join(map(str, sorted(problem)))

    def verify(self, answer: str | None, problem: Numbers) -> Verdict:
        if answer is None:
            return Verdict(False, "no answer")
        wrong = self.errors(answer, problem)
        return Verdict(wrong == 0, f"{wrong} error{'s' * (wrong > 1)}" if wrong else "correct")

    def errors(self, answer: str | None, problem: Numbers) -> int:
        """Neighbours in the wrong order, and numbers that are missing or too many: the score of Graph-of-Thoughts."""
        words = (answer or "").split()
        read = [int(word) for word in words if is_number(word)]
        disorder = sum(a > b for a, b in pairwise(read))
        given, found = Counter(problem), Counter(read)
        return disorder + len(words) - len(read) + sum(((given - found) + (found - given)).values())

    def prompt(self, problem: Numbers, role: str) -> str:
        if role != "sort":
            raise ValueError(f"a list is put in the role sort, not {role!r}")
        return " ".join(sort_prompt(problem, self.levels))

    def merge_prompt(self, answers: Sequence[str], problem: Numbers) -> str:
        lists = [[word for word in answer.split() if is_number(word)] for answer in answers]
        return " ".join(merge_prompt(*lists)) if len(lists) == 2 else _refuse(len(lists))

    def split(self, problem: Numbers, parts: int) -> list[Numbers]:
        if not 1 <= parts <= len(problem):
            raise ValueError(f"a list of {len(problem)} numbers has not {parts} parts")
        cuts = [len(problem) * i // parts for i in range(parts + 1)]
        return [problem[begin:end] for begin, end in pairwise(cuts)]

    def answer(self, text: str, problem: Numbers) -> str | None:
        """The numbers that a text ends with."""
        words = text.split()
        while words and words[-1] in ENDS:
            words.pop()
        begin = len(words)
        while begin and is_number(words[begin - 1]):
            begin -= 1
        return " ".join(words[begin:]) or None


def split_of(numbers: Numbers) -> Split:
    """One list in twenty is held out as "pairs", one as "sets": names as for Countdown, though any list is as new."""
    digest = hashlib.sha256(" ".join(map(str, numbers)).encode()).digest()
    return {0: "sets", 1: "pairs"}.get(digest[0] % 20, "train")  # type: ignore[return-value]


def is_number(word: str) -> bool:
    """A number as the vocabulary writes it. No digit of another script, nothing that takes long to read."""
    return word.isascii() and word.isdigit() and len(word) <= 4


def sort_prompt(numbers: Sequence[int], levels: int) -> Words:
    return (CONTROL["bos"], CONTROL["sort"], str(levels), ",", *map(str, numbers), ":")


def merge_prompt(left: Sequence[object], right: Sequence[object]) -> Words:
    return (CONTROL["bos"], CONTROL["merge"], *map(str, left), ",", *map(str, right), ":")


def sort(numbers: Sequence[int], levels: int, said: int | None = None) -> Trace:
    """The demonstration, with forks in the upper ``levels``; ``said``: the prompt says another number."""
    prompt = sort_prompt(numbers, levels if said is None else said)
    return _sort(Trace(prompt, ()), numbers, levels, CONTROL["eos"])


def merge(left: Sequence[int], right: Sequence[int]) -> Trace:
    """Two sorted lists as one."""
    return Trace(merge_prompt(left, right), (*_sorted([*left, *right]), CONTROL["eos"]))


def _sort(begun: Trace, numbers: Sequence[int], levels: int, end: str) -> Trace:
    if levels == 0 or len(numbers) <= LEAF:
        return Trace(begun.given, (*begun.written, *_in_line(numbers), end))
    threads = []
    for part, half in zip(PARTS, _halves(numbers), strict=True):
        seed = Trace((CONTROL["thread"], part), (str(levels - 1), ",", *map(str, half), ":"))
        threads.append(_sort(seed, half, levels - 1, CONTROL["thread_end"]))
    plan = (CONTROL["plan"], *PARTS, CONTROL["plan_end"])
    then = Trace((CONTROL["join"],), (*_sorted(numbers), end))
    return Trace(begun.given, (*begun.written, *plan), tuple(threads), then)


def _in_line(numbers: Sequence[int]) -> Words:
    if len(numbers) <= LEAF:
        return _sorted(numbers)
    words: list[str] = []
    for part, half in zip(PARTS, _halves(numbers), strict=True):
        words += [part, *map(str, half), ":", *_in_line(half)]
    return (*words, ",", *_sorted(numbers))


def _halves(numbers: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    middle = (len(numbers) + 1) // 2
    return numbers[:middle], numbers[middle:]


def _sorted(numbers: Sequence[int]) -> Words:
    return tuple(map(str, sorted(numbers)))


def _refuse(count: int) -> str:
    raise ValueError(f"two lists are merged at a time, got {count}")

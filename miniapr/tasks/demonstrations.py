"""Fork-join demonstrations: what a model that thinks in parallel should write for a Countdown problem.

One search, two layouts. The search takes a first operation, then tries all that can follow it, depth first:

    8 + 7 = 15 , 3 : + 18 - 12 * 45 / 5 miss

reads "8 + 7 is 15, the 3 remains; 15 + 3 is 18, 15 - 3 is 12, ... none is the target". *Adaptive*
demonstrations try the first of the first operations in line; if that misses, they write a plan of all
others, one thread explores each, and one that hits ends by repeating its steps; after the join the winner's
steps are copied and the whole expression is spelt out. (The repetition matters: under a stitch with
overlapping positions all threads lie on top of one another, and a model told to find the pieces of the
winner in the midst of its search mixed them up with the others' three times out of five.) *Sequential* ones
write the same lines one after another until one hits. So the fork is a decision the model takes after it
has seen that the problem is hard, as in APR (arXiv 2504.15466), in the plan-threads-conclusion format of
Multiverse (arXiv 2506.09991) and ThreadWeaver (arXiv 2512.07843).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .countdown import OPERATORS, Problem, Step, operations
from .vocabulary import (
    ANSWER,
    BIG,
    CONTROL,
    FRACTION,
    HIT,
    LIMIT,
    MISS,
    NONE,
    Vocabulary,
)

Path = tuple[Step, ...]


@dataclass(frozen=True)
class Trajectory:
    """Token ids of one demonstration, cut where the engine acts.

    ``prompt``: given; ``before``: written up to and with the plan's end, or the whole rest if nothing forks;
    ``threads``: each begins with its seed (thread token and plan item, forced by the engine) and ends with the
    thread's end; ``after``: begins with the forced join token, ends with the end of the sequence.
    ``wins`` says which threads hit.
    """

    prompt: tuple[int, ...]
    before: tuple[int, ...]
    threads: tuple[tuple[int, ...], ...] = ()
    after: tuple[int, ...] = ()
    wins: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Exploration:
    """The words of one searched line and, if it hit, the steps from the given numbers to the target."""

    words: tuple[str, ...]
    path: Path | None


def prompt_words(problem: Problem, mode: str = "adaptive") -> list[str]:
    """The words of a prompt: start, mode, numbers from the largest down, target.

    Raises ValueError for an unknown mode or an integer that has no token.
    """
    if mode not in ("adaptive", "sequential"):
        raise ValueError(f"the mode is 'adaptive' or 'sequential', got {mode!r}")
    for number in (*problem.numbers, problem.target):
        if number > LIMIT:
            raise ValueError(f"the vocabulary counts up to {LIMIT}, got {number}")
    numbers = map(str, problem.descending)
    return [CONTROL["bos"], CONTROL[mode], *numbers, "->", str(problem.target), ":"]


def prompt_text(problem: Problem, mode: str = "adaptive") -> str:
    """The prompt as text, for example ``<bos> <adaptive> 8 7 3 -> 29 :``."""
    return " ".join(prompt_words(problem, mode))


def extract_answer(text: str) -> str | None:
    """The expression after the last ``answer`` of a decoded conclusion, or None."""
    _, found, tail = text.rpartition(f"{ANSWER} ")
    expression = tail.split("<")[0].strip()
    return expression if found and expression else None


def first_operations(numbers: Sequence[int]) -> list[Step]:
    """All distinct legal first operations, in the order of the plans; results above ``LIMIT`` left out."""
    steps: dict[Step, None] = {}  # a dict keeps the order and drops what equal numbers repeat
    for i, left in enumerate(numbers):
        for right in numbers[i + 1 :]:
            steps.update((step, None) for step in operations(left, right) if step.value <= LIMIT)
    return list(steps)


def explore(step: Step, numbers: Sequence[int], target: int) -> Exploration:
    """Take ``step``, then search all that can follow it until something hits."""
    remaining = list(numbers)
    remaining.remove(step.left)
    remaining.remove(step.right)
    words = [*_spell(step), ",", *map(str, remaining), ":"]
    below = _final(step.value, remaining[0], target) if len(remaining) == 1 else None
    if below is None:
        below = _descend([step.value, *remaining], target)
    path = None if below.path is None else (step, *below.path)
    return Exploration((*words, *below.words), path)


def _final(left: int, right: int, target: int) -> Exploration:
    """Try the four operations on the last two numbers: each operator and its result, until one hits."""
    words: list[str] = []
    legal = {step.op: step for step in operations(left, right)}
    for op in OPERATORS:
        step = legal.get(op)
        words += [op, FRACTION if step is None else BIG if step.value > LIMIT else str(step.value)]
        if step is not None and step.value == target:
            return Exploration((*words, HIT), (step,))
    return Exploration((*words, MISS), None)


def _descend(numbers: Sequence[int], target: int) -> Exploration:
    words: list[str] = []
    for step in first_operations(numbers):
        line = explore(step, numbers, target)
        words += [*line.words, ";"]
        if line.path is not None:
            return Exploration((*words, HIT), line.path)
    return Exploration((*words, MISS), None)


def _spell(step: Step) -> list[str]:
    return [str(step.left), step.op, str(step.right), "=", str(step.value)]


def _steps(path: Path | None) -> list[str]:
    words = [word for step in path or () for word in (";", *_spell(step))]
    return words[1:]


def conclusion(path: Path | None, numbers: Sequence[int]) -> list[str]:
    """The steps of the winning path, then the full expression; ``none`` if no path won."""
    if path is None:
        return [NONE, CONTROL["eos"]]
    parts = [(number, [str(number)]) for number in numbers]
    for step in path:
        left, right = _take(parts, step.left), _take(parts, step.right)
        parts.append((step.value, [*_bracket(left), step.op, *_bracket(right)]))
    return [*_steps(path), ANSWER, *parts[-1][1], CONTROL["eos"]]


def _take(parts: list[tuple[int, list[str]]], value: int) -> list[str]:
    """Remove the part worth ``value``, a composite before a plain number, and return its words."""
    index = max(i for i, part in enumerate(parts) if part[0] == value)
    return parts.pop(index)[1]


def _bracket(words: list[str]) -> list[str]:
    return words if len(words) == 1 else ["(", *words, ")"]


def demonstrate(problem: Problem, mode: str, vocabulary: Vocabulary) -> Trajectory:
    """The demonstration of ``problem`` in ``mode`` ("adaptive" or "sequential").

    An adaptive one has threads exactly if the first operation tried in line misses and others exist. An
    unsolvable problem ends in ``none``. Raises ValueError for what the vocabulary cannot say.
    """
    prompt = vocabulary.encode(prompt_words(problem, mode))
    numbers = problem.descending
    if len(numbers) == 2:
        only = _final(numbers[0], numbers[1], problem.target)
        return Trajectory(prompt, vocabulary.encode([*only.words, *conclusion(only.path, numbers)]))
    lines = [explore(step, numbers, problem.target) for step in first_operations(numbers)]
    if mode == "sequential" or lines[0].path is not None:
        stop = next((i + 1 for i, line in enumerate(lines) if line.path is not None), len(lines))
        words = [word for line in lines[:stop] for word in (*line.words, ";")]
        return Trajectory(prompt, vocabulary.encode([*words[:-1], *conclusion(lines[stop - 1].path, numbers)]))
    return _forked(prompt, lines, numbers, vocabulary)


def _forked(
    prompt: tuple[int, ...], lines: list[Exploration], numbers: tuple[int, ...], vocabulary: Vocabulary
) -> Trajectory:
    others = lines[1:]
    items = [[CONTROL["item"], *line.words[:3]] for line in others]
    plan = [CONTROL["plan"], *[word for item in items for word in item][1:], CONTROL["plan_end"]]
    threads = [[CONTROL["thread"], *line.words, *_steps(line.path), CONTROL["thread_end"]] for line in others]
    winner = next((line.path for line in others if line.path is not None), None)
    return Trajectory(
        prompt,
        vocabulary.encode([*lines[0].words, *plan]),
        tuple(vocabulary.encode(thread) for thread in threads),
        vocabulary.encode([CONTROL["join"], *conclusion(winner, numbers)]),
        tuple(line.path is not None for line in others),
    )


def thin(trajectory: Trajectory, keep: Sequence[int]) -> Trajectory:
    """The same demonstration with only the threads ``keep``, in that order; the plan still lists all.

    The conclusion stays, so the first winning thread must be among those kept.
    """
    return replace(
        trajectory,
        threads=tuple(trajectory.threads[i] for i in keep),
        wins=tuple(trajectory.wins[i] for i in keep),
    )

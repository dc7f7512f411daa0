"""Sorting as a divided task, and its demonstrations by depth."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.tasks import sorting
from miniapr.tasks.sorting import LEAF, Sorting
from miniapr.tasks.trace import Trace
from miniapr.tasks.vocabulary import Vocabulary
from miniapr.tasks.words import build_tokenizer

TASK = Sorting()
VOCABULARY = Vocabulary(build_tokenizer())
lists = st.lists(st.integers(0, 99), min_size=1, max_size=64).map(tuple)


def last(trace: Trace) -> str:
    return " ".join((*trace.last.given, *trace.last.written))


@given(lists, st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_every_demonstration_sorts_at_every_depth(numbers: tuple[int, ...], levels: int) -> None:
    trace = sorting.sort(numbers, levels)
    assert TASK.verify(TASK.answer(last(trace), numbers), numbers).correct
    assert TASK.verify(TASK.solve(numbers), numbers).correct
    VOCABULARY.encode(word for part in trace for word in (*part.given, *part.written))
    assert " ".join(trace.given) == Sorting(levels=levels).prompt(numbers, "sort")


@given(lists, lists)
@settings(deadline=None, max_examples=40)
def test_a_merge_is_the_sorted_whole(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    left, right = tuple(sorted(left)), tuple(sorted(right))
    trace = sorting.merge(left, right)
    assert TASK.verify(TASK.answer(last(trace), left + right), left + right).correct
    texts = [" ".join(map(str, part)) for part in (left, right)]
    assert " ".join(trace.given) == TASK.merge_prompt(texts, left + right)


@given(lists, st.integers(1, 64))
@settings(deadline=None)
def test_parts_are_the_list_again_and_differ_by_one_at_most(numbers: tuple[int, ...], parts: int) -> None:
    if parts > len(numbers):
        with pytest.raises(ValueError, match=str(parts)):
            TASK.split(numbers, parts)
        return
    cut = TASK.split(numbers, parts)
    assert sum(cut, ()) == numbers and len(cut) == parts
    assert max(map(len, cut)) - min(map(len, cut)) <= 1


def depth(trace: Trace) -> int:
    return max((1 + depth(thread) for thread in trace.threads), default=0)


def test_forks_nest_as_deep_as_asked_and_each_level_shortens_the_critical_path() -> None:
    numbers = TASK.draw(random.Random(0))
    while len(numbers) < 60:
        numbers = Sorting(60, 64).draw(random.Random(1))
    traces = [sorting.sort(numbers, levels) for levels in range(4)]
    assert [depth(trace) for trace in traces] == [0, 1, 2, 3]
    paths = [trace.critical for trace in traces]
    assert paths == sorted(paths, reverse=True) and paths[3] < 0.5 * paths[0]
    assert depth(sorting.sort(numbers[:LEAF], 3)) == 0


@pytest.mark.parametrize(
    ("answer", "errors"),
    [("1 2 3", 0), ("1 3 2", 1), ("1 2", 1), ("1 2 3 3", 1), ("1 2 4", 2), ("1 2 three 3", 1), ("", 3), (None, 3)],
)
def test_errors_are_counted(answer: str | None, errors: int) -> None:
    assert TASK.errors(answer, (3, 1, 2)) == errors
    assert TASK.verify(answer, (3, 1, 2)).correct == (errors == 0)


@given(st.text(max_size=80))
@settings(deadline=None)
def test_any_text_has_a_defined_verdict(text: str) -> None:
    answer = TASK.answer(text, (101,))
    assert TASK.verify(answer, (101,)).correct == (answer == "101")
    assert TASK.errors("9" * 100_000, (1,)) == 2


def test_draws_are_seeded_and_keep_to_their_split() -> None:
    assert TASK.draw(random.Random(3)) == TASK.draw(random.Random(3))
    drawn = [Sorting(4, 6).draw(random.Random(i), split) for i in range(20) for split in ("train", "pairs", "sets")]
    assert [sorting.split_of(numbers) for numbers in drawn] == ["train", "pairs", "sets"] * 20
    assert all(4 <= len(numbers) <= 6 for numbers in drawn)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Sorting(5, 65), "65"),
        (lambda: Sorting(levels=4), "4"),
        (lambda: TASK.prompt((1, 2), "chain"), "chain"),
        (lambda: TASK.merge_prompt(["1"], (1,)), "1"),
    ],
)
def test_bad_bounds_are_named(make, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        make()

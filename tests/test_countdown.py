"""Problems, solver, verifier, splits and words of Countdown."""

from __future__ import annotations

import itertools
import random
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.tasks.countdown import Problem, Ranges, draw, solve, split_of, verify
from miniapr.tasks.terse import prompt_text
from miniapr.tasks.vocabulary import Vocabulary
from miniapr.tasks.words import CONTROL, build_tokenizer

VOCABULARY = Vocabulary(build_tokenizer())
numbers = st.lists(st.integers(1, 20), min_size=2, max_size=3).map(tuple)
problems = st.builds(Problem, numbers, st.integers(0, 100))


def reachable(values: tuple[int, ...]) -> set[Fraction]:
    """Brute force, written differently from the solver: by splitting into two halves, in rationals."""
    if len(values) == 1:
        return {Fraction(values[0])}
    out = set()
    for size in range(1, len(values)):
        for chosen in itertools.combinations(range(len(values)), size):
            rest = tuple(v for i, v in enumerate(values) if i not in chosen)
            for a in reachable(tuple(values[i] for i in chosen)):
                for b in reachable(rest):
                    out |= {a + b, a * b} | ({a - b} if a >= b else set())
                    out |= {a / b} if b and (a / b).denominator == 1 else set()
    return out


@given(problems)
@settings(deadline=None, max_examples=150)
def test_solver_agrees_with_brute_force_and_verifier(problem: Problem) -> None:
    found = solve(problem)
    assert (found is not None) == (problem.target in reachable(problem.numbers))
    if found is not None:
        assert verify(found, problem).correct


def test_solver_handles_four_to_six_numbers() -> None:
    for count in (4, 5, 6):
        problem = draw(random.Random(count), Ranges(count, 1, 9, 10, 200))
        assert verify(solve(problem), problem).correct
    assert solve(Problem((1, 1, 1, 1, 1, 1), 9999)) is None
    assert solve(Problem((20, 20, 20), 8000)) is not None
    assert solve(Problem((20, 20, 20), 8000), limit=100) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5 * 5", "5 is used 1 more"),
        ("5 + 7", "3 is used 1 less"),
        ("5 * 5 * 3 + 7", "5 is used 1 more"),
        ("3 - 5 + 7", "negative"),
        ("7 / 5 + 3", "not an integer"),
        ("7 / ( 5 - 5 )", "5 is used"),
        ("7 ** 5 + 3", "Pow"),
        ("7 // 5 + 3", "FloorDiv"),
        ("-3 + 5 + 7", "UnaryOp"),
        ("3 + 5 + 7 = 15", "something other"),
        ("abs(3) + 5 + 7", "something other"),
        ("__import__('os')", "something other"),
        ("3, 5, 7", "something other"),
        ("3 5 7", "malformed"),
        ("03 + 5 + 7", "malformed"),
        ("", "empty"),
        ("   ", "empty"),
        ("3 + 5 + 7\n", "something other"),
        ("٣ + 5 + 7", "something other"),
        ("(" * 100 + "3" + ")" * 100 + "+5+7", ""),
        ("3 + 5 + 7" + " " * 1000, "characters"),
        ("+".join("1" * 100), "nests"),
        ("9" * 200, "an integer above"),
        ("3 + 5 + 7", "the value is 15"),
    ],
)
def test_verifier_rejects(text: str, reason: str) -> None:
    verdict = verify(text, Problem((3, 5, 7), 99))
    assert not verdict.correct
    assert reason in verdict.reason


def test_verifier_accepts_and_reports_the_value() -> None:
    problem = Problem((3, 7, 8), 29)
    assert verify("( 3 * 7 ) + 8", problem).correct
    assert verify("8+7*3", problem).value == 29
    assert verify(None, problem).reason == "no answer"
    assert verify("(7 - 7) / 3", Problem((3, 7, 7), 0)).correct
    assert "not an integer" in verify("3 / (7 - 7)", Problem((3, 7, 7), 0)).reason


@given(st.text(max_size=300))
@settings(deadline=None)
def test_verifier_never_raises(text: str) -> None:
    assert not verify(text, Problem((9973, 9967), 1)).correct


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: Problem((3,), 3), "1"),
        (lambda: Problem((1,) * 7, 3), "7"),
        (lambda: Problem((0, 3), 3), "0"),
        (lambda: Problem((-4, 3), 3), "-4"),
        (lambda: Problem((3, 10_001), 3), "10001"),
        (lambda: Problem((3, 4), -1), "-1"),
        (lambda: Ranges(count=9), "9"),
        (lambda: Ranges(low=7, high=3), "7..3"),
        (lambda: Ranges(target_low=50, target_high=40), "50..40"),
        (lambda: Ranges(operators="^"), "'^'"),
        (lambda: prompt_text(Problem((401, 3), 3)), "401"),
        (lambda: draw(random.Random(0), Ranges(2, 1, 1, 90, 99), attempts=50), "50"),
    ],
)
def test_bad_ranges_name_the_number(make, number) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=re.escape(number)):
        make()


@given(problems, st.randoms())
def test_splits_depend_on_the_sorted_problem_only(problem: Problem, rng: random.Random) -> None:
    shuffled = list(problem.numbers)
    rng.shuffle(shuffled)
    assert split_of(problem) == split_of(Problem(tuple(shuffled), problem.target))


def test_held_out_splits_are_disjoint_and_of_the_promised_size() -> None:
    sets = list(itertools.combinations_with_replacement(range(1, 21), 3))
    held_sets = {s for s in sets if split_of(Problem(s, 5)) == "sets"}
    assert 0.03 < len(held_sets) / len(sets) < 0.07
    assert all(split_of(Problem(s, t)) == "sets" for s in held_sets for t in (1, 50, 100))
    shares = [split_of(Problem(s, t)) for s in sets[::7] if s not in held_sets for t in range(1, 101)]
    assert 0.04 < shares.count("pairs") / len(shares) < 0.06
    assert "sets" not in shares
    rng = random.Random(3)
    for split in ("train", "pairs", "sets"):
        assert all(split_of(draw(rng, Ranges(), split)) == split for _ in range(20))


def test_drawing_is_seeded() -> None:
    assert draw(random.Random(5), Ranges()) == draw(random.Random(5), Ranges())
    assert solve(draw(random.Random(5), Ranges(), solvable=False)) is None


def test_text_cannot_write_control_tokens() -> None:
    tokenizer = build_tokenizer()
    for word in CONTROL.values():
        assert tokenizer.token_to_id(word) not in tokenizer.encode(f"3 {word} 4").ids
        assert tokenizer.token_to_id(word) not in tokenizer.encode(f"3{word}4").ids
    assert tokenizer.encode("3 a+b 400").ids == [3, VOCABULARY.ids["a+b"], 400]
    assert tokenizer.decode([3, VOCABULARY.ids["<join>"]], skip_special_tokens=False) == "3 <join>"
    with pytest.raises(ValueError, match="'401'"):
        VOCABULARY.encode(["401"])

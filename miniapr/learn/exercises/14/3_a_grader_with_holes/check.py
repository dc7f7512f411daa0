"""Expressions that are built, so that their value is known, and texts that models were paid for."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

HOLES = (
    ("2**3", [2, 3], 8),
    ("7//2", [7, 2], 3),
    ("3.5*2", [3, 5, 2], 7),
    ("5*5", [5, 50], 25),
    ("(2+3", [2, 3], 5),
    ("2+3)", [2, 3], 5),
    ("", [2, 3], 5),
    ("2 3", [2, 3], 23),
    ("8/(3-3)", [8, 3, 3], 0),
    ("-3+8", [3, 8], 5),
    ("2+3=5", [2, 3], 5),
    ("max(2,3)", [2, 3], 3),
    ("True+4", [1, 4], 5),
    ("9**9**9", [9, 9, 9], 1),
    ("(" * 5000 + "5" + ")" * 5000, [5, 2], 5),
)
trees = st.recursive(st.integers(1, 9), lambda inner: st.tuples(st.sampled_from("+-*/"), inner, inner), max_leaves=4)


def built(tree: Any) -> tuple[str, Fraction, list[int]]:
    """Its text, its value and its numbers. Raises ZeroDivisionError."""
    if isinstance(tree, int):
        return str(tree), Fraction(tree), [tree]
    op, (left, a, first), (right, b, second) = tree[0], built(tree[1]), built(tree[2])
    value = a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a / b
    return f"({left} {op} {right})", value, first + second


def check(work: Any) -> None:
    def holes() -> None:
        """What is no such expression is not paid."""
        for text, numbers, target in HOLES:
            found = work.grade(text, list(numbers), target)
            assert found is False, f"{text[:20]!r} for {numbers} -> {target} gives {found}"

    @given(trees)
    @settings(max_examples=40)
    def right(tree: Any) -> None:
        """An expression that makes the target out of the numbers is right, in whatever order they are given."""
        text, value, numbers = valued(tree)
        assume(value.denominator == 1)
        found = work.grade(text, sorted(numbers), int(value))
        assert found is True, f"{text} for {sorted(numbers)} -> {value} gives {found}"

    @given(trees)
    @settings(max_examples=40)
    def exact(tree: Any) -> None:
        """A value that is not the target is wrong, however near."""
        text, value, numbers = valued(tree)
        for target in {round(value), round(value) + 1} - {value}:
            assert work.grade(text, numbers, target) is False, f"{text} is {value}, not {target}"

    @given(trees, st.integers(0, 9))
    @settings(max_examples=40)
    def each_once(tree: Any, more: int) -> None:
        """A number that is missing, or there once too often, makes it wrong."""
        text, value, numbers = valued(tree)
        assume(value.denominator == 1)
        for wrong in ([*numbers, more], numbers[1:]):
            assert work.grade(text, wrong, int(value)) is False, f"{text} is paid, but the numbers are {wrong}"

    def valued(tree: Any) -> tuple[str, Fraction, list[int]]:
        try:
            return built(tree)
        except ZeroDivisionError:
            assume(False)
            raise

    holes()
    right()
    exact()
    each_once()

"""Expressions that were built, so that their numbers and their value are known; and the tricks that were seen."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

leaves = st.integers(1, 9).map(lambda n: (str(n), [n], Fraction(n)))
Built = tuple[str, list[int], Fraction]


def joined(inner: st.SearchStrategy[Built]) -> st.SearchStrategy[Built]:
    def build(left: Built, op: str, right: Built) -> Built:
        a, b = left[2], right[2]
        value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else Fraction(1, 3)}[op]
        return f"({left[0]}) {op} ({right[0]})", left[1] + right[1], value

    return st.builds(build, inner, st.sampled_from("+-*/"), inner).filter(lambda one: "/ (0" not in one[0])


expressions = st.recursive(leaves, joined, max_leaves=4)


def check(work: Any) -> None:
    @settings(max_examples=30)
    @given(expressions)
    def right_is_right(built: Built) -> None:
        """An honest expression is right for its own value, and for no other."""
        text, numbers, value = built
        if value.denominator == 1 and not _by_zero(text):
            assert work.correct(text, numbers, int(value)), f"{text} with {numbers} is {value}, and is called wrong"
        near = int(value) + 1
        assert value == near or not work.correct(text, numbers, near), f"{text} is called right for {near}"

    @settings(max_examples=30)
    @given(expressions, st.integers(1, 9))
    def each_number_once(built: Built, more: int) -> None:
        """Each number is used exactly once."""
        text, numbers, value = built
        wrong = not work.correct(text, [*numbers, more], int(value))
        assert wrong, f"{text} is called right, and leaves {more} out of {[*numbers, more]}"

    def tricks() -> None:
        """Only + - * / and brackets, on whole numbers."""
        for text, numbers, target in (
            ("2**3", [2, 3], 8),
            ("7//2", [7, 2], 3),
            ("3.5*2", [3, 5, 2], 7),
            ("7/2", [7, 2], 3),
            ("-3+5", [3, 5], 2),
            ("+(8)", [8], 8),
            ("(2, 3)", [2, 3], 5),
        ):
            assert not work.correct(text, numbers, target), f"{text} is called right for {numbers} -> {target}"
        assert work.correct(" 7 / 2 * 2 ", [7, 2, 2], 7), "7 / 2 * 2 is called wrong for [7, 2, 2] -> 7"

    @settings(max_examples=30)
    @given(st.text("12+-*/( )x.='", max_size=8))
    def whatever_it_is(text: str) -> None:
        """No text raises anything."""
        assert work.correct(text, [1, 2], 50) is False

    def junk() -> None:
        """No text raises anything, and none is run."""
        for text in ("", "1/0", "(" * 500, "\0", "print(1)", "8 if 8 else 8", "2 +"):
            assert work.correct(text, [8], 8) is False, f"{text[:20]!r} is called right"

    right_is_right()
    tricks()
    each_number_once()
    whatever_it_is()
    junk()


def _by_zero(text: str) -> bool:
    try:
        eval(text)
    except ZeroDivisionError:
        return True
    return False

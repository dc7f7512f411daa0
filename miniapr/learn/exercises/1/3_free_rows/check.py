"""A machine that reads and multiplies number by number is the judge."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

matrices = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3)
tokens, sizes = st.integers(1, 12), st.sampled_from([1, 2, 4])
speeds = st.integers(1, 12)


def clocks(
    shapes: list[tuple[int, int]], count: int, size: int, bandwidth: int, peak: int
) -> tuple[Fraction, Fraction]:
    """When the last weight is read, and when the last number is multiplied."""
    reading, multiplying = Fraction(0), Fraction(0)
    for rows, columns in shapes:
        for _ in range(rows * columns):
            reading += Fraction(size, bandwidth)
            for _ in range(count):
                multiplying += Fraction(1, peak)  # times the token's number
                multiplying += Fraction(1, peak)  # added to what was there
    return reading, multiplying


def check(work: Any) -> None:
    @given(matrices, tokens, sizes, speeds)
    def slow_memory(shapes: list[tuple[int, int]], count: int, size: int, bandwidth: int) -> None:
        """Where arithmetic costs nothing, a pass takes as long as reading all weights once."""
        found = work.step_seconds(shapes, count, size, bandwidth, 10**12)
        true = float(clocks(shapes, 1, size, bandwidth, 1)[0])
        assert math.isclose(found, true), f"{found} s, not {true} s"

    @given(matrices, tokens, sizes, speeds, speeds)
    def roofline(shapes: list[tuple[int, int]], count: int, size: int, bandwidth: int, peak: int) -> None:
        """A pass takes as long as the slower of reading and multiplying."""
        found = work.step_seconds(shapes, count, size, bandwidth, peak)
        true = float(max(clocks(shapes, count, size, bandwidth, peak)))
        assert math.isclose(found, true), f"{found} s, not {true} s"

    @given(matrices, sizes, speeds, speeds)
    def free(shapes: list[tuple[int, int]], size: int, bandwidth: int, peak: int) -> None:
        """So many tokens take as long as one, and one more takes longer."""
        found = work.free_tokens(shapes, size, bandwidth, peak)
        true = 1
        while max(clocks(shapes, true + 1, size, bandwidth, peak)) == max(clocks(shapes, 1, size, bandwidth, peak)):
            true += 1
        assert found == true, f"{found} tokens, not {true}"

    slow_memory()
    roofline()
    free()

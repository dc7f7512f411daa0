"""Exact arithmetic is the judge."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

pays = st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0, 1.05, 1.2])
groups = st.lists(pays, min_size=2, max_size=8)


def check(work: Any) -> None:
    @given(pays, st.integers(2, 9))
    def nothing(pay: float, count: int) -> None:
        """Where all are paid the same, every advantage is exactly 0."""
        found = list(work.advantages([pay] * count))
        assert found == [0.0] * count, f"{count} tries paid {pay} each have the advantages {found}"

    @given(groups)
    def less_the_mean(group: list[float]) -> None:
        """An advantage is the pay less the group's mean, whatever the group's spread."""
        mean = sum(map(Fraction, group)) / len(group)
        for pay, found in zip(group, work.advantages(list(group)), strict=True):
            true = float(Fraction(pay) - mean)
            assert abs(found - true) < 1e-12, f"a pay of {pay} in {group} has the advantage {found}, not {true:.6g}"

    @given(groups, st.sampled_from([math.nan, math.inf, -math.inf]), st.integers(0, 8))
    def not_finite(group: list[float], wrong: float, place: int) -> None:
        """A pay that is no finite number is refused."""
        group.insert(place, wrong)
        try:
            found = work.advantages(group)
        except ValueError:
            return
        raise AssertionError(f"no ValueError, but {found}")

    nothing()
    less_the_mean()
    not_finite()

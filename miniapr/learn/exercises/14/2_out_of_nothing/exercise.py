"""What each try of a group is worth beside the others."""

from __future__ import annotations

import math


def advantages(group: list[float]) -> list[float]:
    """Of each pay of a group, in order. Raises ValueError for a pay that is no finite number."""
    # <solution>
    if wrong := [pay for pay in group if not math.isfinite(pay)]:
        raise ValueError(f"a try is paid {wrong[0]}")
    if max(group) == min(group):
        return [0.0] * len(group)
    mean = sum(group) / len(group)
    return [pay - mean for pay in group]
    # </solution>
    # <stub>
    # mean = sum(group) / len(group)
    # spread = math.sqrt(sum((pay - mean) ** 2 for pay in group) / len(group))
    # return [(pay - mean) / spread if spread else 0.0 for pay in group]
    # </stub>

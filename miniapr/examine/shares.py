"""Figures with their intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def share(right: Sequence[bool]) -> dict[str, float | int] | None:
    """How many of how many, as a share with its 95 % interval (Wilson 1927); None of nothing."""
    n = len(right)
    if not n:
        return None
    p, z = sum(right) / n, 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return {"share": round(p, 4), "low": round(max(0.0, low), 4), "high": round(min(1.0, high), 4), "n": n}


def quotient(over: Sequence[float], under: Sequence[float]) -> dict[str, float | int] | None:
    """The sum of the one by the sum of the other, with its 95 % interval over problems (the delta method); None of
    fewer than two. By ones it is a mean."""
    n = len(over)
    if n < 2:
        return None
    ratio = sum(over) / sum(under)
    off = math.sqrt(sum((a - ratio * b) ** 2 for a, b in zip(over, under, strict=True)) / (n * (n - 1)))
    half = 1.96 * off / statistics.mean(under)
    return {"ratio": round(ratio, 4), "low": round(ratio - half, 4), "high": round(ratio + half, 4), "n": n}

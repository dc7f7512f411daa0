"""Weights are read again for each token."""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int, int]


def step_seconds(matrices: Sequence[Shape], tokens: int, weight_bytes: int, bandwidth: int, peak: int) -> float:
    """The least time of a forward pass, in seconds."""
    weights = sum(rows * columns for rows, columns in matrices)
    return tokens * max(weights * weight_bytes / bandwidth, 2 * weights / peak)


def free_tokens(matrices: Sequence[Shape], weight_bytes: int, bandwidth: int, peak: int) -> int:
    """How many tokens a pass can take in the time of one."""
    return max(1, weight_bytes * peak // (2 * bandwidth))

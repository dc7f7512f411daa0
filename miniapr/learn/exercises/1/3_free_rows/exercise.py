"""What a forward pass waits for."""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int, int]


def step_seconds(matrices: Sequence[Shape], tokens: int, weight_bytes: int, bandwidth: int, peak: int) -> float:
    """The least time of a forward pass, in seconds."""
    # <solution>
    weights = sum(rows * columns for rows, columns in matrices)
    return max(weights * weight_bytes / bandwidth, 2 * weights * tokens / peak)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def free_tokens(matrices: Sequence[Shape], weight_bytes: int, bandwidth: int, peak: int) -> int:
    """How many tokens a pass can take in the time of one."""
    # <solution>
    return max(1, weight_bytes * peak // (2 * bandwidth))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

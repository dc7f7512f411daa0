"""What a run is paid: for its answer, and for the tokens that nobody waited for."""

from __future__ import annotations

from typing import Any

Run = list[Any]  # of stretches (int) and forks (list of Run)


def ratio(run: Run, right: bool, rho: float) -> float:
    """C + C rho (1 - Lc / L): compared with its own tokens, one after the other."""
    # <solution>
    total, critical = _cost(run)
    return right * (1 + rho * (1 - critical / total if total else 0.0))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def relative(run: Run, right: bool, rho: float, serial: int) -> float:
    """C + C rho max(-1, 1 - Lc / serial): compared with the same problem in line."""
    # <solution>
    return right * (1 + rho * max(-1.0, 1 - _cost(run)[1] / serial))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


# <solution>


def _cost(run: Run) -> tuple[int, int]:
    """All tokens, and those of the longest way."""
    total = critical = 0
    for part in run:
        below = [(part, part)] if isinstance(part, int) else [_cost(branch) for branch in part]
        total += sum(tokens for tokens, _ in below)
        critical += max((path for _, path in below), default=0)
    return total, critical


# </solution>

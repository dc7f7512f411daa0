"""When an organizer is done that thinks on while others work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def finish(actions: Sequence[tuple[Any, ...]], agents: int) -> int:
    """``actions``: ("think", n), ("fork", name, n) or ("join", name); ``agents``: how many work, at least one."""
    # <solution>
    now, answered = 0, dict[str, int]()
    free = [0] * agents  # when each agent is free next
    for kind, *rest in actions:
        if kind == "think":
            now += rest[0]
        elif kind == "fork":
            name, length = rest
            agent = free.index(min(free))
            free[agent] = answered[name] = max(now, free[agent]) + length
        else:
            now = max(now, answered[rest[0]])
    return now
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

"""What one request may do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass


class NoRoom(ValueError):
    """The context, the pool or the limit on depth has no room for it. Nothing has changed: a program may go on without.
    Whatever else is wrong with an operation is another ValueError, and no program should go on then."""


@dataclass(frozen=True)
class Limits:
    """Of one request. ``tokens``: decoded in all its branches together; ``width``: branches of one fork;
    ``depth``: forks inside forks."""

    tokens: int = 100_000
    width: int = 64
    depth: int = 8

    def __post_init__(self) -> None:
        for name in ("tokens", "width", "depth"):
            if getattr(self, name) < 0:
                raise ValueError(f"limit on {name} must not be negative, is {getattr(self, name)}")


@dataclass
class Cost:
    """What was done, in exact counts.

    decoded      tokens sampled
    prefilled    tokens computed other than just sampled: prompts, seeds, text joined again, recomputation
    recomputed   of those, tokens whose KV had existed before
    reused       tokens whose KV was taken over as it is: prefix hits, forks (per child) and joins
    bytes_moved  copied inside the pool
    keys_shifted keys turned in place
    steps        forward passes
    seconds      in steps
    """

    decoded: int = 0
    prefilled: int = 0
    recomputed: int = 0
    reused: int = 0
    bytes_moved: int = 0
    keys_shifted: int = 0
    steps: int = 0
    seconds: float = 0.0

    def add(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) + amount)

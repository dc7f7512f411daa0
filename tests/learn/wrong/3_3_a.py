"""Widens the result, when it is too late."""

from __future__ import annotations


class Int32:
    """A number of 32 bits, as in C++ on most machines: too large a result goes on from the other end."""

    def __init__(self, value: int) -> None:
        self.value = (value + 2**31) % 2**32 - 2**31

    def __add__(self, other: Int32) -> Int32:
        return Int32(self.value + other.value)

    def __mul__(self, other: Int32) -> Int32:
        return Int32(self.value * other.value)


def offset(block: int, head: int, d: int, slot: int, heads: int, D: int, size: int) -> int:
    """Of number ``d`` of the key in ``slot`` of a block, in a pool [blocks, heads, D, size]."""
    start = Int32(block * heads * D * size)
    return start.value + (head * D + d) * size + slot


def first_wrong(heads: int, D: int, size: int) -> int:
    """The first block in which an offset does not fit into 32 bits with a sign."""
    return 2**31 // (heads * D * size)

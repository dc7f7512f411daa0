"""Copies even for the last one, who has the block alone."""

from __future__ import annotations

from dataclasses import dataclass, field

SIZE = 3


class Pool:
    """Blocks of tokens, and how many tables name each."""

    def __init__(self) -> None:
        self.content: list[list[int]] = []
        self.refs: list[int] = []

    def take(self) -> int:
        self.content.append([])
        self.refs.append(1)
        return len(self.refs) - 1


@dataclass
class Text:
    """A table of blocks, and how many tokens it has."""

    pool: Pool
    table: list[int] = field(default_factory=list)
    length: int = 0

    def fork(self) -> Text:
        for block in self.table:
            self.pool.refs[block] += 1
        return Text(self.pool, list(self.table), self.length)

    def append(self, token: int) -> None:
        pool, offset = self.pool, self.length % SIZE
        if offset == 0:
            self.table.append(pool.take())
        last = self.table[-1]
        if offset:
            self.table[-1] = pool.take()
            pool.content[self.table[-1]] = pool.content[last][:offset]
            pool.refs[last] -= 1
        content = pool.content[self.table[-1]]
        content[offset:] = [token]
        self.length += 1

    def read(self) -> list[int]:
        return [token for block in self.table for token in self.pool.content[block]][: self.length]

"""Tokens where the server's own are not known: a token is a piece of text, as it came or as it was given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class TextPieces:
    """Numbers pieces of text in order of appearance, so that programs can go on speaking of tokens.

    What a server streams comes token by token from most of them, so counts are near the true ones. What is
    counted exactly is in the server's own usage.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._ids: dict[str, int] = {}

    @property
    def control(self) -> range:
        """Each may be one of the server's control tokens: nobody here knows."""
        return range(len(self._pieces))

    def __len__(self) -> int:
        return 1 << 60  # there is always room for one more

    def id(self, token: str) -> int:
        if token not in self._ids:
            self._ids[token] = len(self._pieces)
            self._pieces.append(token)
        return self._ids[token]

    def ids(self, tokens: Iterable[str]) -> list[int]:
        return [self.id(token) for token in tokens]

    def encode(self, text: str, start: bool = True) -> list[int]:
        return [self.id(text)] if text else []

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self._pieces[id] for id in ids)

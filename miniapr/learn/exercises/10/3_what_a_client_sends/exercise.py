"""A search tree, told to a server in texts, and to an engine that forks."""

from __future__ import annotations

from collections.abc import Sequence

Thought = tuple[int | None, int, int]  # parent, tokens given, tokens decoded


def sent(tree: Sequence[Thought]) -> int:
    """Tokens that a client sends who has to send the whole text each time."""
    # <solution>
    lengths: list[int] = []
    total = 0
    for parent, given, decoded in tree:
        before = given + (lengths[parent] if parent is not None else 0)
        total += before if decoded else 0
        lengths.append(before + decoded)
    return total
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def prefilled(tree: Sequence[Thought]) -> int:
    """Tokens that were given, and that somebody needed: each once."""
    # <solution>
    needed = [decoded > 0 for _, _, decoded in tree]
    for number in reversed(range(len(tree))):
        parent = tree[number][0]
        if needed[number] and parent is not None:
            needed[parent] = True
    return sum(given for (_, given, _), used in zip(tree, needed, strict=True) if used)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

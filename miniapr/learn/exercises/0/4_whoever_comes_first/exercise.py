"""Branches that are done at different times, joined."""

from __future__ import annotations

from collections.abc import Sequence


def decode_and_join(branches: Sequence[Sequence[int]], pauses: Sequence[set[int]]) -> list[int]:
    """Each branch's tokens, decoded side by side, then joined into one text.

    branches[i]  what branch i will write
    pauses[i]    the steps in which it gets no token
    """
    written: dict[int, list[int]] = {}  # of the branches that are done
    texts: list[list[int]] = [[] for _ in branches]
    step = 0
    while len(written) < len(branches):
        for number, (text, tokens) in enumerate(zip(texts, branches, strict=True)):
            if len(text) < len(tokens) and step not in pauses[number]:
                text.append(tokens[len(text)])
            if len(text) == len(tokens):
                written.setdefault(number, text)
        step += 1
    # <solution>
    return [token for number in sorted(written) for token in written[number]]
    # </solution>
    # <stub>
    # return [token for text in written.values() for token in text]
    # </stub>

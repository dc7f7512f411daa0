"""Many tries, one vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def answer(text: str) -> str | None:
    """What a text says behind its last ``answer:``; None if it never comes to that."""
    _, mark, after = text.rpartition("answer:")
    return after.strip() or None if mark else None


def elect(texts: Sequence[str]) -> str | None:
    """What most of the texts answer."""
    # <solution>
    heard = [found for found in map(answer, texts) if found is not None]
    winner = Counter(heard).most_common(1)
    return winner[0][0] if winner else None
    # </solution>
    # <stub>
    # winner = Counter(texts).most_common(1)
    # return answer(winner[0][0]) if winner else None
    # </stub>

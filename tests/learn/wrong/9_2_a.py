"""Silence still votes."""

from collections import Counter


def answer(text):
    _, mark, after = text.rpartition("answer:")
    return after.strip() or None if mark else None


def elect(texts):
    winner = Counter(map(answer, texts)).most_common(1)
    return winner[0][0] if winner else None

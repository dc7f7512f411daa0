"""Of equals the largest, not the first."""

from collections import Counter


def answer(text):
    _, mark, after = text.rpartition("answer:")
    return after.strip() or None if mark else None


def elect(texts):
    heard = Counter(found for found in map(answer, texts) if found is not None)
    return max(heard, key=lambda vote: (heard[vote], vote), default=None)

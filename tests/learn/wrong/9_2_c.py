"""The last word wins."""


def answer(text):
    _, mark, after = text.rpartition("answer:")
    return after.strip() or None if mark else None


def elect(texts):
    heard = [found for found in map(answer, texts) if found is not None]
    return heard[-1] if heard else None

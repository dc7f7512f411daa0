"""Many requests in one row: what their contexts share is there once."""

from __future__ import annotations

Request = tuple[list[int], list[int]]  # context, written


def pack(requests: list[Request]) -> tuple[list[int], list[int], list[list[bool]], list[tuple[int, int]]]:
    """tokens, positions, who sees whom, and (place, token) of all that was written. No context is empty."""
    # <solution>
    place: dict[tuple[int, ...], int] = {}
    learned = []
    for context, written in requests:
        text = (*context, *written)
        for n in range(1, len(text) + 1):
            place.setdefault(text[:n], len(place))
        learned += [(place[text[:n]], text[n]) for n in range(len(context), len(text))]
    paths = list(place)
    visible = [[path[: len(other)] == other for other in paths] for path in paths]
    return [path[-1] for path in paths], [len(path) - 1 for path in paths], visible, learned
    # </solution>
    # <stub>
    # tokens, learned = [], []
    # for context, written in requests:
    #     for n, token in enumerate(written, start=len(tokens) + len(context)):
    #         learned.append((n - 1, token))
    #     tokens += [*context, *written]
    # count = len(tokens)
    # return tokens, list(range(count)), [[j <= i for j in range(count)] for i in range(count)], learned
    # </stub>

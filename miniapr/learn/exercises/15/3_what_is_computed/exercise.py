"""What a client's requests cost a server with a prefix cache."""

from __future__ import annotations

Request = tuple[list[int], list[int]]  # prompt, written


def prefilled(requests: list[Request], size: int) -> list[int]:
    """Of each request, in order, the tokens of its prompt that are computed."""
    # <solution>
    known, counts = set[tuple[int, ...]](), []
    for prompt, written in requests:
        found = 0
        while size and found + size <= len(prompt) - 1 and tuple(prompt[: found + size]) in known:
            found += size
        counts.append(len(prompt) - found)
        text = (*prompt, *written[:-1])
        known |= {text[:end] for end in range(size, len(text) + 1, size)} if size else set()
    return counts
    # </solution>
    # <stub>
    # return [len(prompt) for prompt, _ in requests]  # no cache at all
    # </stub>

"""The prompt of a join, in token ids."""

from __future__ import annotations

from collections.abc import Callable


def join(
    prompt: list[int],
    threads: list[list[int]],
    close: str,
    encode: Callable[[str], list[int]],
    decode: Callable[[list[int]], str],
) -> list[int]:
    """The prompt, then each thread followed by ``close``."""
    # <solution>
    end = encode(close)
    return [*prompt, *(token for thread in threads for token in (*thread, *end))]
    # </solution>
    # <stub>
    # text = decode(prompt)
    # for thread in threads:
    #     text += decode(thread) + close
    # return encode(text)
    # </stub>

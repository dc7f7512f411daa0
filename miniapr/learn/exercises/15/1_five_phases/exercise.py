"""Parallel thinking as a client: text goes in, text comes out, and the join is a longer prompt."""

from __future__ import annotations

# <solution>
import re

# </solution>
from collections.abc import Callable

Complete = Callable[[str, list[str]], tuple[str, str]]  # (prompt, stop) -> (text, why it ended)


def think(prompt: str, complete: Complete, blocks: int = 4) -> tuple[str, int]:
    """The whole text, and how many completions had to wait for one another."""
    # <solution>
    text, waits = prompt, 0
    for _ in range(blocks):
        written, why = complete(text, ["</Outlines>"])
        text, waits = text + written, waits + 1
        numbers = list(dict.fromkeys(re.findall(r"<Outline>\s*(\d+)\s*:", written)))
        if why != "stop" or not numbers:
            return text, waits
        threads = [complete(f"{text}\n<Thread>{number}:", ["</Thread>"]) for number in numbers]
        waits += 1
        for number, (thread, ended) in zip(numbers, threads, strict=True):
            text += f"\n<Thread>{number}:{thread}" + ("" if ended == "stop" else "</Thread>")
        if any(ended == "length" for _, ended in threads):
            return text, waits
        text += "\n</Parallel>"
    return text + complete(text, [])[0], waits + 1
    # </solution>
    # <stub>
    # written, _ = complete(prompt, [])
    # return prompt + written, 1
    # </stub>

"""Text from elsewhere: what is none, and what a terminal shows of it. It is shown, and never obeyed."""

from __future__ import annotations

import re

# C0 and C1 but for tabs and ends of lines: with these a terminal is told what to do. And halves of surrogate pairs:
# they are no characters, and printing one would be an error.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def plain(text: str) -> str:
    """The same text with a replacement character for everything that a terminal would obey or could not print."""
    return OBEYED.sub("\N{REPLACEMENT CHARACTER}", text)


def is_text(text: str) -> bool:
    """Whether it is made of characters alone: Python keeps bytes that it cannot read, and what browsers send, as halves
    of surrogate pairs."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

"""Demonstrations that a model wrote itself: a folder of trees, and the source that shows them.

Self-distillation by rejection sampling: what was right is learned, nothing else (STaR, arXiv 2203.14465; ThreadWeaver's
second stage, arXiv 2512.07843; NPR-Beta, arXiv 2512.07461). ``collect`` makes such a folder.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from .stream import JOINS
from .text import Packed, Text, pack

TREES = "demonstrations.jsonl"  # beside the tokenizer and what the model said of itself


def as_text(told: dict[str, Any]) -> Text:
    """A tree of such a folder, to be learned from: what was written, and nothing that was put there. Raises KeyError or
    TypeError."""
    given, written, then = told["given"], told["written"], told.get("then")
    return Text(
        (*given, *written),
        (*[0.0] * len(given), *[1.0] * len(written)),
        tuple(as_text(thread) for thread in told.get("threads", ())),
        as_text(then) if then else None,
    )


class Own:
    """Shows the trees of a folder, each as likely, packed as ``joins`` has it. Raises ValueError for a folder without
    them, or damaged ones."""

    def __init__(self, folder: str | Path, joins: str = "both") -> None:
        if joins not in JOINS:
            raise ValueError(f"joins is one of {', '.join(JOINS)}, got {joins!r}")
        self.joins, folder = JOINS[joins], Path(folder)
        try:
            lines = (folder / TREES).read_text(encoding="utf-8").splitlines()
            self.texts = [as_text(json.loads(line)) for line in lines]
            self.about: dict[str, Any] = json.loads((folder / "miniapr.json").read_text(encoding="utf-8"))
            self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the tokenizer's own errors have no class of theirs
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"{folder} holds no demonstrations that can be read: {reason}") from error
        if not self.texts:
            raise ValueError(f"{folder / TREES} holds no tree")

    def __call__(self, rng: random.Random) -> Packed:
        return pack(rng.choice(self.texts), rng.choice(self.joins))

"""An endless, seeded stream of packed demonstrations.

Chunk k of a stream is a function of (seed, k) and of the options alone. So the position in the data is two
integers, and a run that was killed resumes on exactly the batches it would have seen.
"""

from __future__ import annotations

import random
from typing import Any, Protocol

from tokenizers import Tokenizer

from .text import Batch, Join, Packed, batches, collate

JOINS: dict[str, tuple[Join, ...]] = {
    "both": ("stitch", "reprefill"),
    "stitch": ("stitch",),
    "reprefill": ("reprefill",),
}


class Source(Protocol):
    """Makes demonstrations of a kind. What it gives depends on its options and on ``rng`` alone."""

    tokenizer: Tokenizer

    @property
    def about(self) -> dict[str, Any]:
        """What the trained model's description says of its task."""
        ...

    def __call__(self, rng: random.Random) -> Packed: ...


class Stream:
    """Makes chunks of batches. Owns options only: ``chunk`` depends on nothing that came before."""

    def __init__(self, seed: int, source: Source, *, chunk_size: int, batch_tokens: int) -> None:
        self.seed, self.source = seed, source
        self.chunk_size, self.batch_tokens = chunk_size, batch_tokens
        self._pad: int = source.tokenizer.get_vocab()["<pad>"]

    def chunk(self, number: int) -> list[list[Packed]]:
        """The batches of chunk ``number``, in training order."""
        rng = random.Random(f"{self.seed} {number}")
        sequences = [self.source(rng) for _ in range(self.chunk_size)]
        groups = list(batches(sequences, self.batch_tokens))
        rng.shuffle(groups)
        return groups

    def collate(self, group: list[Packed]) -> Batch:
        return collate(group, self._pad)

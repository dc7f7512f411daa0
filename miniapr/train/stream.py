"""An endless, seeded stream of packed demonstrations.

Chunk k of a stream is a function of (seed, k) and of the options alone. So the position in the data is two
integers, and a run that was killed resumes on exactly the batches it would have seen.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import random
from collections import deque
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Protocol

import torch
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

    def chunk(self, number: int) -> list[Batch]:
        """The batches of chunk ``number``, in training order."""
        return [collate(group, self._pad) for group in self.groups(number)]

    def groups(self, number: int) -> list[list[Packed]]:
        """The sequences of each batch of a chunk."""
        rng = random.Random(f"{self.seed} {number}")
        sequences = [self.source(rng) for _ in range(self.chunk_size)]
        groups = list(batches(sequences, self.batch_tokens))
        rng.shuffle(groups)
        return groups

    def chunks(self, first: int, workers: int = 0) -> Generator[list[Batch], None, None]:
        """The chunks from ``first`` on, without an end; ``workers`` processes make them ahead of time."""
        if not workers:
            while True:
                yield self.chunk(first)
                first += 1
        spawn = multiprocessing.get_context("spawn")  # a fork would have the locks of this process's threads
        with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
            try:
                ahead = deque(pool.submit(_pickled, self, first + i) for i in range(2 * workers))
                for number in itertools.count(first + 2 * workers):
                    yield pickle.loads(ahead.popleft().result())
                    ahead.append(pool.submit(_pickled, self, number))
            finally:
                pool.shutdown(cancel_futures=True)


def _pickled(stream: Stream, number: int) -> bytes:
    """As bytes: between processes torch would make a file of each tensor, and there are thousands."""
    return pickle.dumps(stream.chunk(number))

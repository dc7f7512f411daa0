"""An endless, seeded stream of packed demonstrations.

Chunk k of a stream is a function of (seed, k) and of the options alone. So the position in the data is two
integers, and a run that was killed resumes on exactly the batches it would have seen.
"""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import random
from collections.abc import Generator
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer

from .text import Batch, Join, Packed, batches, collate

JOINS: dict[str, tuple[Join, ...]] = {
    "both": ("stitch", "reprefill"),
    "stitch": ("stitch",),
    "reprefill": ("reprefill",),
    "trie": ("trie",),
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
        pipes = [spawn.Pipe(duplex=False) for _ in range(workers)]
        makers = [
            spawn.Process(target=_make, args=(self, first + i, workers, end), daemon=True)
            for i, (_, end) in enumerate(pipes)
        ]
        for maker, (_, end) in zip(makers, pipes, strict=True):
            maker.start()
            end.close()  # so that one that has died is noticed
        try:
            for begin, _ in itertools.cycle(pipes):
                yield pickle.loads(begin.recv_bytes())
        finally:
            for maker in makers:
                maker.terminate()


def _make(stream: Stream, first: int, step: int, pipe: Connection) -> None:
    """Every ``step``-th chunk into the pipe, which lets a maker be no further ahead than it is wide. As bytes: torch
    would make a file of each tensor, and there are thousands."""
    torch.set_num_threads(1)
    for number in itertools.count(first, step):
        try:
            pipe.send_bytes(pickle.dumps(stream.chunk(number)))
        except BrokenPipeError:  # nobody is there any more
            return

"""Tensors in files that somebody wrote: found by a table of contents, read when they are asked for, never mapped.

A mapped file stays its writer's. Overwritten in place it changes the weights under a running engine; cut short it ends
the process (SIGBUS). So every tensor is read into memory of our own, one after the other. What that promises: once a
model is loaded, nothing that happens to its file matters; a file that changes while it is loaded is noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

Stamp = tuple[int, ...]
# From the bytes of a tensor [size] uint8 and its shape to its numbers.
Expand = Callable[[Tensor, Sequence[int]], Tensor]


def _as(dtype: torch.dtype) -> Expand:
    return lambda raw, shape: raw.view(dtype).view(*shape)


PLAIN: dict[str, Expand] = {
    "F32": _as(torch.float32),
    "F16": _as(torch.float16),
    "BF16": _as(torch.bfloat16),
    "F64": _as(torch.float64),
}


class Reader:
    """A file read from front to back, in a ``with``. What it claims to hold is not believed beyond its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BufferedReader = path.open("rb")
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        self.stamp = _stamp(self._file)
        self.size = self.stamp[2]
        self.at = 0

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes. Raises ValueError, before any memory is taken, if the file ends before them."""
        self.within(self.at, size)
        self.at += size
        return self._file.read(size)

    def within(self, start: int, size: int) -> None:
        """Raise ValueError unless ``size`` bytes from ``start`` on lie in the file."""
        if not 0 <= start <= start + size <= self.size:
            raise ValueError(f"it has {self.size} bytes, and claims {size} from byte {start} on")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet.

    kind         its type, as the file names it
    start, size  in bytes
    stamp        the file's, when its table of contents was read
    kinds        by name, the types that can be read
    """

    file: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    size: int
    stamp: Stamp
    kinds: Mapping[str, Expand] = field(repr=False)

    def read(self) -> Tensor:
        """Its numbers, in memory that nobody else has. Raises ValueError for a type that cannot be read, or a file that
        is no longer the one whose table of contents this is."""
        if self.kind not in self.kinds:
            raise ValueError(
                f"{self.file}: tensor {self.name!r} is {self.kind}, only {', '.join(self.kinds)} are supported"
            )
        raw = torch.empty(self.size, dtype=torch.uint8)
        self._into(raw.numpy().data, 0)
        return self.kinds[self.kind](raw, self.shape)

    def equals(self, other: Stored) -> bool:
        """Both hold the same bytes in the same shape. Raises ValueError as ``read`` does."""
        if (self.kind, self.shape, self.size) != (other.kind, other.shape, other.size):
            return False
        mine, theirs = bytearray(2**20), bytearray(2**20)
        for start in range(0, self.size, 2**20):
            length = min(2**20, self.size - start)
            self._into(memoryview(mine)[:length], start)
            other._into(memoryview(theirs)[:length], start)
            if mine[:length] != theirs[:length]:
                return False
        return True

    def _into(self, buffer: memoryview, start: int) -> None:
        try:
            with self.file.open("rb") as file:
                file.seek(self.start + start)
                sound = file.readinto(buffer) == len(buffer) and _stamp(file) == self.stamp
        except OSError as error:
            raise ValueError(f"{self.file} cannot be read: {error.strerror}") from error
        if not sound:
            raise ValueError(f"{self.file} was changed while it was read: load it again")


def _stamp(file: BufferedReader) -> Stamp:
    """Which file this is, and when it was last written."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

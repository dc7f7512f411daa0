"""The table of contents of a GGUF file: a magic number, counts, keys with values, names of tensors; then their bytes.

Numbers are little-endian. Whatever is counted takes bytes for each element, so nothing that a file claims is believed
for longer than the file lasts: one that claims 2^40 numbers ends at the first that is not there.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .stored import PLAIN, Expand, Reader, Stored

VERSIONS = (2, 3)
STRING, ARRAY = 8, 9
# The other kinds of values, as numpy names them.
NUMBERS = dict(enumerate(["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?"])) | {10: "<u8", 11: "<i8", 12: "<f8"}
# Kinds of tensors that can be read: their names, and how many numbers make a block of how many bytes.
TENSORS = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    28: ("F64", 1, 8),
    30: ("BF16", 1, 2),
}


def read_table(path: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    """Values by key (numbers, bools, str, lists of them) and tensors by name.

    Raises ValueError for what is no GGUF file, or is cut short."""
    if not path.is_file():
        raise ValueError(f"no model: {path} is missing")
    try:
        with Reader(path) as file:
            return _Table(file).read()
    except ValueError as error:
        raise ValueError(f"{path} is not a GGUF file, or is cut short: {error}") from error


class _Table:
    """Reads from front to back."""

    def __init__(self, file: Reader) -> None:
        self.file = file

    def read(self) -> tuple[dict[str, Any], dict[str, Stored]]:
        if (magic := self.file.take(4)) != b"GGUF":
            raise ValueError(f"it begins with {magic!r}")
        if (version := self.number("<u4")) not in VERSIONS:
            raise ValueError(f"version {version:#x} (or another order of bytes) is not supported, only {VERSIONS}")
        tensors, keys = self.number("<u8"), self.number("<u8")
        values: dict[str, Any] = {}
        for _ in range(keys):
            if (key := self.string()) in values:
                raise ValueError(f"key {key!r} is there twice")
            values[key] = self.value(key, self.number("<u4"))
        infos = [self.info() for _ in range(tensors)]
        step = values.get("general.alignment", 32)
        if type(step) is not int or step < 1:
            raise ValueError(f"general.alignment is {step!r}")
        base = -(-self.file.at // step) * step
        found = {name: self.stored(name, kind, shape, base + start) for name, kind, shape, start in infos}
        if len(found) < len(infos):
            raise ValueError(f"{len(infos) - len(found)} names of tensors are there twice")
        return values, found

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0]

    def numbers(self, kind: str, count: int) -> list[Any]:
        size = np.dtype(kind).itemsize
        numbers: list[Any] = np.frombuffer(self.file.take(count * size), kind).tolist()
        return numbers

    def string(self) -> str:
        return self.file.take(struct.unpack("<Q", self.file.take(8))[0]).decode("utf-8")

    def value(self, key: str, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        inner = self.number("<u4") if kind == ARRAY else kind
        if inner not in NUMBERS and inner != STRING:
            raise ValueError(f"key {key!r} is of kind {kind}, {inner}, which is not supported")
        count = self.number("<u8")
        return [self.string() for _ in range(count)] if inner == STRING else self.numbers(NUMBERS[inner], count)

    def info(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, kind, shape and first byte. A file has the fastest dimension first."""
        name = self.string()
        shape = tuple(reversed(self.numbers("<u8", self.number("<u4"))))
        return name, self.number("<u4"), shape, self.number("<u8")

    def stored(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> Stored:
        if kind not in TENSORS:
            return Stored(self.file.path, name, _name_of(kind), shape, start, 0, self.file.stamp, EXPAND)
        label, block, size = TENSORS[kind]
        if not shape or 0 in shape or shape[-1] % block:
            raise ValueError(
                f"tensor {name!r} is {list(shape)} of {label}, whose rows are multiples of {block}, none empty"
            )
        size *= math.prod(shape) // block
        self.file.within(start, size)
        return Stored(self.file.path, name, label, shape, start, size, self.file.stamp, EXPAND)


def _name_of(kind: int) -> str:
    """Of a kind that cannot be read, if anybody here knows it."""
    try:
        from gguf import GGMLQuantizationType

        return GGMLQuantizationType(kind).name
    except (ImportError, ValueError):
        return f"of kind {kind}"


def _expand(blocks: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """[N, bytes] uint8 -> [N, 32] float32: a block is a float16 scale, in Q4_1 a float16 offset, and 32 whole numbers,
    two to a byte in Q4: the first 16 in the low halves, the others in the high ones."""
    head = 4 if name == "Q4_1" else 2
    scale = blocks[:, :head].copy().view(np.float16).astype(np.float32)  # [N, 1], or [N, 2] with the offset
    whole = blocks[:, head:]
    numbers: np.ndarray[Any, Any]
    if name == "Q8_0":
        numbers = whole.view(np.int8).astype(np.float32)
    else:
        numbers = np.concatenate((whole & 15, whole >> 4), 1).astype(np.float32)  # [N, 32], from 0 to 15
    if name == "Q4_0":
        numbers -= 8
    numbers *= scale[:, :1]
    if name == "Q4_1":
        numbers += scale[:, 1:]
    return numbers


def _expander(name: str, size: int) -> Expand:
    """With numpy, whose operations on small whole numbers are several times faster than torch's."""
    return lambda raw, shape: torch.from_numpy(_expand(raw.numpy().reshape(-1, size), name)).view(*shape)


EXPAND = PLAIN | {name: _expander(name, size) for name, block, size in TENSORS.values() if block > 1}

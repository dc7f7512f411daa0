"""Hugging Face folders: config.json, and weights in safetensors files, never pickle.

A safetensors file is the length of a header (8 bytes, little-endian), the header (JSON: of each tensor its dtype, shape
and where in the rest it lies), and the rest.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from .config import ModelConfig
from .files import read_json
from .stored import PLAIN, Reader, Stored

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # a number; other types are refused when they are read


def read_config(folder: Path) -> ModelConfig:
    """config.json as it is. Raises ValueError naming the file and what in it is not supported."""
    file = folder / "config.json"
    if not file.is_file():
        raise ValueError(f"no model in {folder}: {file.name} is missing")
    try:
        return ModelConfig.from_dict(read_json(file))
    except ValueError as error:
        raise ValueError(f"{file} is not a model configuration: {error}") from error


def stored(folder: Path) -> dict[str, Stored]:
    """The tensors of a folder by name, in one file or in the shards that an index lists.

    Raises ValueError naming a file that is missing, cut short, or no safetensors file.
    """
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    files = [single]
    if not single.is_file() and index.is_file():
        shards = read_json(index).get("weight_map")
        if not isinstance(shards, dict) or not shards:
            raise ValueError(f"{index} has no weight_map")
        files = [folder / Path(str(shard)).name for shard in sorted(set(map(str, shards.values())))]
    found: dict[str, Stored] = {}
    for file in files:
        if not file.is_file():
            raise ValueError(f"no model in {folder}: {file.name} is missing")
        for name, tensor in _contents(file).items():
            if name in found:
                raise ValueError(f"tensor {name!r} is in {found[name].file.name} and in {file.name}")
            found[name] = tensor
    return found


def _contents(path: Path) -> dict[str, Stored]:
    """Raises ValueError for a file that is no safetensors file, or ends before a tensor does."""
    try:
        with Reader(path) as file:
            header = json.loads(file.take(int.from_bytes(file.take(8), "little")))
            if not isinstance(header, dict):
                raise ValueError("its header is no JSON object")
            return {name: _entry(file, name, entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors are ValueErrors
        raise ValueError(f"{path} is not a safetensors file, or is cut short: {error}") from error


def _entry(file: Reader, name: str, entry: Any) -> Stored:
    """One tensor of a header, whose data begin where the header ended."""
    try:
        kind, shape, (start, stop) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tensor {name!r} lacks dtype, shape or data_offsets") from error
    if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
        raise ValueError(f"tensor {name!r} has shape {shape} and data_offsets {start, stop}")
    file.within(file.at + start, stop - start)
    if kind in BYTES and stop - start != BYTES[kind] * math.prod(shape):
        raise ValueError(f"tensor {name!r} is {list(shape)} of {kind}, and takes {stop - start} bytes")
    return Stored(file.path, name, kind, shape, file.at + start, stop - start, file.stamp, PLAIN)

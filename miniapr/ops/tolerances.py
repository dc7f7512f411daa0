"""How far an operation may be from the float64 oracle: the largest absolute error, for inputs of about 1.

The oracle gets the values as they are stored, so a small type is not charged for its rounding on the way in,
only for what the operation itself rounds (its output, where that is stored in a small type). Tests and
``ops.check`` use this table.
"""

from __future__ import annotations

import torch

EXACT = 0.0
TOLERANCE: dict[str, dict[torch.dtype, float]] = {
    "paged_attention": {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 1e-4},  # out in float32
    "paged_attention, q and out in bfloat16": {torch.bfloat16: 2e-2},
    "write_kv": {torch.float64: EXACT, torch.float32: EXACT, torch.bfloat16: EXACT},
    "copy_blocks": {torch.float64: EXACT, torch.float32: EXACT, torch.bfloat16: EXACT},
    "shift_keys": {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2},  # rounded when stored
    "copy_and_shift": {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2},
    "linear": {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-1},
    "swiglu": {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-1},
    "rope": {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2},
    # Eight turns in a row: what a chain of shifts loses.
    "shift_keys, eight times": {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 1.5e-1},
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """The type that the C++ kernels compute in."""
    return torch.float64 if dtype == torch.float64 else torch.float32

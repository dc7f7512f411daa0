"""How far an operation may be from the float64 oracle: the largest absolute error, for inputs of about 1.

The oracle gets the values as they are stored, so a small type is not charged for its rounding on the way in,
only for what the operation itself rounds (its output, where that is stored in a small type). Tests and
``kernels.check`` use this table.
"""

from __future__ import annotations

import torch

DTYPES = (torch.float64, torch.float32, torch.bfloat16)  # of the CPU; a GPU has float16 in the place of float64


def _row(float64: float, float32: float, bfloat16: float, float16: float) -> dict[torch.dtype, float]:
    return {torch.float64: float64, torch.float32: float32, torch.bfloat16: bfloat16, torch.float16: float16}


EXACT = 0.0
TOLERANCE: dict[str, dict[torch.dtype, float]] = {
    # float64, float32, bfloat16, float16
    "paged_attention": _row(1e-10, 1e-4, 1e-4, 1e-4),  # out in float32
    "paged_attention, q and out in bfloat16": {torch.bfloat16: 2e-2},
    "write_kv": _row(EXACT, EXACT, EXACT, EXACT),
    "copy_blocks": _row(EXACT, EXACT, EXACT, EXACT),
    "shift_keys": _row(1e-12, 1e-5, 3e-2, 4e-3),  # rounded when stored
    "copy_and_shift": _row(1e-12, 1e-5, 3e-2, 4e-3),
    "linear": _row(1e-12, 1e-5, 1e-1, 1.5e-2),
    "swiglu": _row(1e-12, 1e-5, 1e-1, 1.5e-2),
    "rope": _row(1e-12, 1e-5, 3e-2, 4e-3),
    "sample": _row(1e-12, 2e-5, 2e-5, 2e-5),  # a wrong token is an error of 1 at least
    # Eight turns in a row: what a chain of shifts loses.
    "shift_keys, eight times": _row(1e-11, 1e-5, 1.5e-1, 2e-2),
}


def arithmetic(dtype: torch.dtype) -> torch.dtype:
    """The type that the kernels compute in."""
    return torch.float64 if dtype == torch.float64 else torch.float32

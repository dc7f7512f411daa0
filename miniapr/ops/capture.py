"""Doing the same thing again without deciding it again.

What a decode step calls depends on the number of its rows only, so between two steps all of Python's work
(choosing, checking, allocating) comes out the same. A *captured* step is the list of kernel calls with their
addresses; a replay makes the calls. What changes from step to step (the rows' embeddings and angles, slots,
the plan) lies in memory that stays in place and is overwritten before. On a GPU this is a CUDA graph; on a
CPU it is the list below.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .plan import AttentionPlan


class Captures(Protocol):
    """What a backend provides beside the operations if its steps can be captured."""

    def bucket(self, rows: int) -> int:
        """How many rows the captured step has that ``rows`` rows are run with."""
        ...

    def place(self, plan: AttentionPlan, rows: int) -> AttentionPlan:
        """A plan like this one, to be captured: with memory of its own, for ``rows`` rows."""
        ...

    def replan(self, placed: AttentionPlan, plan: AttentionPlan) -> bool:
        """Put another step's plan in the place of a captured one; False if it is too big for it."""
        ...

    def capture(self, function: Callable[[Any], Tensor]) -> Callable[[], Tensor]:
        """Capture ``function(operations)``. What comes back makes its calls, and returns its result: always the
        same tensor. Raises CaptureError if the function does what can't be captured."""
        ...


class CaptureError(RuntimeError):
    """Something was done between the calls that a replay would leave out."""


class Tape:
    """An extension module that notes every call of a function, with its arguments, and makes it."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        made = getattr(self.module, name)
        if isinstance(made, type):
            return made

        def call(*arguments: Any) -> None:
            made(*arguments)
            self.calls.append((made, arguments))

        return call


class Watch(TorchDispatchMode):
    """Sees to it that torch does nothing but allocate and look: anything else would be done once, not at each
    replay. Keeps what is allocated, for the calls know addresses only."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here; to make sure of it, torch would import its compiler: three seconds

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.empty.memory_format, torch.ops.aten.new_empty.default):
            self.kept.append(result)
        elif not function.is_view:
            raise CaptureError(f"{function} was called: only kernels of the backend can be captured")
        return result

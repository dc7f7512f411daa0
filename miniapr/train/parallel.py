"""Several processes train one model (``torchrun --nproc-per-node N -m miniapr train ...``).

Every process draws the same batch, computes its share of it, and the gradients are added up; so all make the same
update, which is that of one process to rounding. Hardly anything else is ever sent, for data and order follow from the
seed: only what a share alone knows, its loss, and the rollouts that were sampled in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed
from torch import Tensor, nn


class Sliced(Protocol):
    """A list, a range, a batch: what can be cut."""

    def __getitem__(self, which: slice, /) -> Any: ...


T = TypeVar("T")
S = TypeVar("S", bound=Sliced)


@dataclass(frozen=True)
class Team:
    """Which of how many processes this is; by default it is alone."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that speaks and writes files."""
        return self.rank == 0

    def share(self, items: S) -> S:
        """What this one computes. Of items sorted by length all get as much; of few items the last may get none."""
        mine: S = items[self.rank :: self.size]
        return mine

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes the sum of all processes' ones, in place."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])  # one message, not one for each
        torch.distributed.all_reduce(flat)
        for tensor, total in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Of each number the sum of all processes' ones."""
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.add([sums])
        return sums.tolist()

    def gather(self, items: Sequence[T]) -> list[list[T]]:
        """What each process has, by its rank."""
        told: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(told, list(items))
        return told

    def add_gradients(self, model: nn.Module) -> None:
        """The gradients of all shares of a batch become those of the batch. One that had no share has none so far."""
        parameters = list(model.parameters())
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.add(parameter.grad for parameter in parameters if parameter.grad is not None)


@contextmanager
def team() -> Iterator[Team]:
    """The processes that ``torchrun`` has started, or this one alone. Within another it is the same: processes that
    have parted do not find each other again."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    if outermost := not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    try:
        yield Team(torch.distributed.get_rank(), torch.distributed.get_world_size())
    finally:
        if outermost:
            torch.distributed.destroy_process_group()

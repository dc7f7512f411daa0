"""An attention plan as the GPU reads it: cut into units of work, in one buffer that one copy brings over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch

from .checks import plan_tensors
from .plan import AttentionPlan


@dataclass(frozen=True)
class Cutting:
    """What decides how a plan is cut: the pool's sizes, the heads, and how many units keep the GPU busy."""

    blocks: int
    block_size: int
    kv_heads: int
    q_heads: int
    head_dim: int
    parallel: int  # units per KV head


@dataclass(frozen=True)
class Room:
    """How much a ``DevicePlan`` can hold."""

    rows: int
    units: int
    states: int  # partial results: a chunk of a run for a row
    entries: int  # of the buffer, int32
    turns: int  # rows that the rotation tables must have; 0: nothing is turned

    def rounded_up(self) -> Room:
        """Room for up to twice as much, but for the rows: each is computed."""
        return replace(
            self, **{name: 1 << (n - 1).bit_length() for name, n in vars(self).items() if n and name != "rows"}
        )


class DevicePlan:
    """The work list of one step on a device, with the scratch memory for its partial results.

    With ``room`` for more than the plan needs it is what a captured CUDA graph reads: ``update`` writes the next
    step's list to the same addresses. Rows of q beyond the plan's then give zeros. Steps that share a
    ``DevicePlan`` must be on one stream.

    Raises ValueError if an index of the plan is out of range, or the plan does not fit the room.
    """

    def __init__(
        self,
        module: ModuleType,
        cutting: Cutting,
        device: torch.device,
        plan: AttentionPlan,
        room: Room | None = None,
    ) -> None:
        self._module, self.cutting = module, cutting
        work = self._cut(plan, room.rows if room else plan.rows)
        self.room = room or self._needed(plan, work)
        states, heads = self.room.states, cutting.q_heads
        self.buffer = torch.empty(self.room.entries, dtype=torch.int32, device=device)
        self.value = torch.empty(states, heads, cutting.head_dim, device=device)  # float32
        self.lse = torch.empty(states, heads, device=device)
        self._write(plan, work)

    def update(self, plan: AttentionPlan) -> None:
        """Overwrite the list with that of another step, on the current stream, without waiting for it."""
        self._write(plan, self._cut(plan, self.room.rows))

    def needed(self, plan: AttentionPlan, rows: int = 0) -> Room:
        """The room that a plan takes, with at least so many rows."""
        return self._needed(plan, self._cut(plan, max(plan.rows, self.room.rows, rows)))

    def fits(self, plan: AttentionPlan) -> bool:
        """Whether ``update`` would take it. A plan that turns keys goes only where some are turned."""
        needed = vars(self.needed(plan))
        return all(needed[name] <= has for name, has in vars(self.room).items())

    def _cut(self, plan: AttentionPlan, rows: int) -> Any:
        cutting = self.cutting
        addresses = [x.data_ptr() for x in plan_tensors(plan)]
        counts = (len(plan.blocks), plan.runs, len(plan.edge_row), plan.rows, len(plan.shifts))
        group = cutting.q_heads // cutting.kv_heads
        return self._module.WorkList(
            addresses, counts, cutting.blocks, cutting.block_size, group, cutting.parallel, rows
        )

    def _needed(self, plan: AttentionPlan, work: Any) -> Room:
        return Room(work.rows, work.units, work.states, work.size, len(plan.shifts) if plan.shifted else 0)

    def _write(self, plan: AttentionPlan, work: Any) -> None:
        needed = self._needed(plan, work)
        for name, has in vars(self.room).items():
            if getattr(needed, name) > has:
                raise ValueError(f"plan needs {getattr(needed, name)} {name}, there is room for {has}")
        on_gpu = self.buffer.device.type == "cuda"
        # Pinned, or the copy would wait; fresh, since the last one may still be on its way.
        host = torch.empty(work.size, dtype=torch.int32, pin_memory=on_gpu)
        work.write(host.data_ptr(), len(host))
        self.buffer[: len(host)].copy_(host, non_blocking=True)

"""The attention plan: which rows read which runs of the pool in one step.

Made once per step, outside the layers, in integers only. A *run* is a distinct stretch of KV: the
blocks of one span from one starting token on. An *edge* says that a query row sees the first
``visible`` tokens of a run, moved by a shift. Rows that share a prefix share the run, so a kernel can
load each run once for all its edges: a step over k branches then costs the unique KV once, not k times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class AttentionPlan:
    """All tensors int32 and contiguous. ``R`` runs, ``E`` edges, ``N`` rows, ``S`` distinct shifts.

    blocks        [sum]  block ids of all runs, one run after the other
    block_ptr     [R+1]  run r has blocks[block_ptr[r]:block_ptr[r+1]]
    first         [R]    offset of the run's first token inside its first block
    edge_ptr      [R+1]  run r has edges edge_ptr[r]:edge_ptr[r+1]
    edge_row      [E]    the query row
    edge_visible  [E]    the row sees tokens 0..visible-1 of the run, visible >= 1
    edge_shift    [E]    index into shifts
    row_ptr       [N+1]  row n has row_edges[row_ptr[n]:row_ptr[n+1]]; a row without edges gives zeros
    row_edges     [E]    edge numbers grouped by row, for merging partial results
    shifts        [S]    distinct amounts by which keys count as moved
    """

    blocks: Tensor
    block_ptr: Tensor
    first: Tensor
    edge_ptr: Tensor
    edge_row: Tensor
    edge_visible: Tensor
    edge_shift: Tensor
    row_ptr: Tensor
    row_edges: Tensor
    shifts: Tensor

    @property
    def rows(self) -> int:
        return len(self.row_ptr) - 1

    @property
    def runs(self) -> int:
        return len(self.first)

    @cached_property
    def shifted(self) -> bool:
        """Whether any key counts as moved; if not, kernels skip the rotation."""
        return bool((self.shifts != 0).any())

    @cached_property
    def prepared(self) -> dict[object, object]:
        """What a backend derives from this plan, by the backend's module: made once per step, not per layer."""
        return {}


class PlanBuilder:
    """Collects who sees what, row group by row group, then sorts it by run.

    Never copies a block list twice: a run is known by the caller's key (a span and a start).
    """

    def __init__(self) -> None:
        self.rows = 0
        self._number: dict[object, int] = {}
        self._blocks: list[list[int]] = []
        self._first: list[int] = []
        self._shifts: dict[int, int] = {}
        self._groups: list[tuple[int, int, int, int, int, int]] = []

    def see(self, key: object, blocks: list[int], first: int, visible: int, shift: int, rows: int, ramp: int) -> None:
        """The next ``rows`` rows see ``visible`` tokens (row i: ``visible + i * ramp``) of run ``key``.

        ``blocks`` may be longer than what is seen; of two lists for one key the longer one counts.
        """
        run = self._number.setdefault(key, len(self._number))
        if run == len(self._blocks):
            self._blocks.append(blocks)
            self._first.append(first)
        elif len(blocks) > len(self._blocks[run]):
            self._blocks[run] = blocks
        turn = self._shifts.setdefault(shift, len(self._shifts))
        self._groups.append((run, self.rows, rows, visible, ramp, turn))

    def end_rows(self, rows: int) -> None:
        """Close a group of rows: what is seen from now on belongs to the rows after it."""
        self.rows += rows

    def build(self, device: torch.device | str = "cpu") -> AttentionPlan:
        group = np.array(self._groups, dtype=np.int64).reshape(-1, 6)
        run, row, rows, visible, ramp, turn = group.T
        within = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)  # 0..rows-1 in each group
        edge_run = np.repeat(run, rows)
        edge_row = np.repeat(row, rows) + within
        edge_visible = np.repeat(visible, rows) + within * np.repeat(ramp, rows)
        edge_turn = np.repeat(turn, rows)
        order = np.lexsort((edge_row, edge_turn, edge_run))  # by run, then shift, then row
        edge_run, edge_row = edge_run[order], edge_row[order]

        def tensor(x: np.ndarray | list[int]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(x, dtype=np.int32)).to(device)

        def pointers(counts: np.ndarray | list[int]) -> Tensor:
            return tensor(np.concatenate(([0], np.cumsum(counts))))

        return AttentionPlan(
            blocks=tensor([b for blocks in self._blocks for b in blocks]),
            block_ptr=pointers([len(blocks) for blocks in self._blocks]),
            first=tensor(self._first),
            edge_ptr=pointers(np.bincount(edge_run, minlength=len(self._blocks))),
            edge_row=tensor(edge_row),
            edge_visible=tensor(edge_visible[order]),
            edge_shift=tensor(edge_turn[order]),
            row_ptr=pointers(np.bincount(edge_row, minlength=self.rows)),
            row_edges=tensor(np.argsort(edge_row, kind="stable")),
            shifts=tensor(list(self._shifts)),
        )

"""The attention plan: which rows read which runs of the pool in one step.

Made once per step, outside the layers, in integers only. A *run* is a distinct stretch of KV: the
blocks of one span from one starting token on. An *edge* says that a query row sees the first
``visible`` tokens of a run, moved by a shift. Rows that share a prefix share the run, so a kernel can
load each run once for all its edges: a step over k branches then costs the unique KV once, not k times.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
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
    def prepared(self) -> dict[Any, Any]:
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
        self._groups: list[int] = []  # six numbers for each: run, first row, rows, visible, ramp, shift

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
        self._groups.extend((run, self.rows, rows, visible, ramp, turn))

    def end_rows(self, rows: int) -> None:
        """Close a group of rows: what is seen from now on belongs to the rows after it."""
        self.rows += rows

    def build(self) -> AttentionPlan:
        groups = np.array(self._groups, dtype=np.int64).reshape(-1, 6)  # [G, 6]
        run, row, rows, visible, ramp, turn = groups.T
        if (rows != 1).any():  # an edge for each row of a group
            nth = np.arange(rows.sum()) - np.repeat(rows.cumsum() - rows, rows)  # [E], its number in its group
            run, row, visible, ramp, turn = (np.repeat(column, rows) for column in (run, row, visible, ramp, turn))
            row, visible = row + nth, visible + nth * ramp
        # By run, then shift, then row: one number for all three.
        by_run = np.argsort((run * (len(self._shifts) + 1) + turn) * (self.rows + 1) + row, kind="stable")
        of_run, of_row = run[by_run], row[by_run]
        parts = (
            np.fromiter(chain.from_iterable(self._blocks), np.int64),
            _pointers(np.fromiter(map(len, self._blocks), np.int64, len(self._blocks))),
            np.array(self._first, dtype=np.int64),
            _pointers(np.bincount(of_run, minlength=len(self._blocks))),
            of_row,
            visible[by_run],
            turn[by_run],
            _pointers(np.bincount(of_row, minlength=self.rows)),
            np.argsort(of_row, kind="stable"),
            np.array(list(self._shifts), dtype=np.int64),
        )
        # One tensor, cut up: ten would cost ten times as much in a step that decodes.
        whole = torch.from_numpy(np.concatenate(parts).astype(np.int32))
        return AttentionPlan(*whole.split([len(part) for part in parts]))


def _pointers(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where each group begins, and where the last one ends."""
    return np.concatenate((np.zeros(1, np.int64), sizes.cumsum()))

"""``kernels.check``: every operation of a backend against the reference in float64, over awkward sizes.

Slots that were never written hold NaN, so reading one shows. The tests in tests/ search far more; this is the
one call with which to see whether an edited kernel is still right.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from ..ops import AttentionPlan, Norm, Operations, PlanBuilder, Weight, load, reference
from ..ops.packed import pack
from .table import Table, named
from .tolerances import DTYPES, TOLERANCE, arithmetic

BLOCKS = 24  # in the pool of a case


@dataclass(frozen=True)
class Checked:
    """The largest absolute error of an operation in one dtype, inputs being about 1."""

    operation: str
    dtype: str
    cases: int
    error: float = field(metadata={"title": "largest error", "format": ".1e"})
    tolerance: float = field(metadata={"format": ".0e"})
    verdict: str

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


def check(backend: Operations | str, operations: Sequence[str] = ()) -> Table[Checked]:
    """Run the named operations, or all of them, over awkward sizes; the table has the largest error of each beside the
    published tolerance.

    All is well if ``all(row.ok for row in check(backend).rows)``. Raises ValueError for a name that does not exist.
    """
    ops = load(backend) if isinstance(backend, str) else backend
    rows = []
    for operation, dtype in product(named(operations, _OPERATIONS), getattr(ops, "dtypes", DTYPES)):
        tolerance = TOLERANCE[operation].get(dtype)
        if tolerance is None:
            continue
        errors = [_error(got, expected) for got, expected in _OPERATIONS[operation](ops, _Case(ops, dtype))]
        verdict = "ok" if max(errors) <= tolerance else "WRONG"
        name = str(dtype).removeprefix("torch.")
        rows.append(Checked(operation, name, len(errors), max(errors), tolerance, verdict))
    return Table(rows)


def _error(got: Tensor, expected: Tensor) -> float:
    """NaN where there should be none is an infinite error; both NaN (slots never written) is none."""
    difference = (got.double() - expected.double()).abs()
    difference[got.isnan() & expected.isnan()] = 0
    return float(difference.nan_to_num(math.inf).max()) if len(difference) else 0.0


class _Case:
    """Random numbers of one dtype, where the backend wants them."""

    def __init__(self, ops: Operations, dtype: torch.dtype) -> None:
        self.dtype, self.device, self.packs = dtype, getattr(ops, "device", "cpu"), getattr(ops, "packs", True)
        self.generator, self.random = torch.Generator().manual_seed(0), random.Random(0)

    def sizes(self) -> Iterator[tuple[int, int]]:
        """(head size, block size); those that are no whole number of vectors only where any size is allowed."""
        yield from ((64, 16), (80, 8), (96, 32), (128, 64))
        if self.device == "cpu":
            yield from ((2, 1), (6, 3), (16, 2), (66, 5))

    def numbers(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.randn(*shape, generator=self.generator).to(dtype or self.dtype).to(self.device)

    def pool(self, heads: int, depth: int, size: int, *layers: int) -> tuple[Tensor, Tensor]:
        return self.numbers(*layers, BLOCKS, heads, depth, size), self.numbers(*layers, BLOCKS, heads, size, depth)

    def turns(self, depth: int, shifts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The rotation by each shift: no shift is no rotation."""
        frequency = 1 / 30 ** torch.linspace(0, 1, depth // 2, dtype=torch.float64)
        angle = torch.tensor(shifts, device=self.device)[:, None] * frequency.to(self.device)  # [S, D / 2]
        return angle.cos().to(arithmetic(self.dtype)), angle.sin().to(arithmetic(self.dtype))

    def blocks(self, count: int) -> list[int]:
        return self.random.sample(range(BLOCKS), count)

    def index(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)  # lists lie on the host


Pairs = Iterator[tuple[Tensor, Tensor]]  # what was got, and what was expected


def _write_kv(ops: Operations, case: _Case) -> Pairs:
    for depth, size in case.sizes():
        for rows in (1, 7, 70):
            k, v = case.numbers(rows, 2, depth), case.numbers(rows, 2, depth)
            slots = (case.random.sample(range(BLOCKS * size), min(rows, BLOCKS * size)) + [-1] * rows)[:rows]
            got = case.pool(2, depth, size)
            expected = [cache.clone() for cache in got]
            ops.write_kv(k, v, got[0], got[1], case.index(slots))
            reference.write_kv(k, v, expected[0], expected[1], case.index(slots))
            yield from zip(got, expected, strict=True)


def _plan(case: _Case, size: int, rows: int, causal: bool) -> tuple[AttentionPlan, list[int]]:
    """Rows that share a run, see stretches of their own, are turned, or see nothing; and the slots that are seen."""
    builder, free = PlanBuilder(), case.blocks(BLOCKS)
    written: list[int] = []

    def run(blocks: int) -> tuple[list[int], int, int]:
        taken, first = [free.pop() for _ in range(blocks)], case.random.randrange(size)
        length = max(1, blocks * size - first - case.random.randrange(size))
        written.extend(taken[(first + t) // size] * size + (first + t) % size for t in range(length))
        return taken, first, length

    shared, first, length = run(8)
    if causal:
        rows = min(rows, length)
        builder.see("shared", shared, first, length - rows + 1, 5, rows, 1)
        builder.end_rows(rows)
        return builder.build(), written
    for row in range(rows):
        if row % 5 != 4:
            builder.see("shared", shared, first, length - row % min(3, length), 0, 1, 0)
        if row % 3 == 1 and free:
            own = run(1)
            builder.see(row, own[0], own[1], own[2], -7, 1, 0)
        builder.end_rows(1)
    return builder.build(), written


def _paged_attention(ops: Operations, case: _Case) -> Pairs:
    work = arithmetic(case.dtype)
    for (depth, size), group, (rows, causal) in product(case.sizes(), (1, 3), ((1, False), (9, False), (70, True))):
        plan, slots = _plan(case, size, rows, causal)
        full = case.pool(2, depth, size)
        k, v = (torch.full_like(cache, math.nan) for cache in full)
        for slot in slots:  # whatever is not seen stays NaN
            block, offset = slot // size, slot % size
            k[block, :, :, offset], v[block, :, offset] = full[0][block, :, :, offset], full[1][block, :, offset]
        q = case.numbers(plan.rows, 2 * group, depth, dtype=work)
        tables = case.turns(depth, (-plan.shifts).tolist())
        interleaved = case.random.random() < 0.5
        yield (
            ops.paged_attention(q, k, v, plan, *tables, interleaved),
            reference.paged_attention(q.double(), k.double(), v.double(), plan, *tables, interleaved),
        )


def _copy_blocks(ops: Operations, case: _Case) -> Pairs:
    for depth, size in case.sizes():
        got = case.pool(2, depth, size, 3)
        expected = [cache.clone() for cache in got]
        blocks = case.blocks(10)
        source, target = case.index(blocks[:5]), case.index(blocks[5:])
        ops.copy_blocks(got[0], got[1], source, target)
        reference.copy_blocks(expected[0], expected[1], source, target)
        yield from zip(got, expected, strict=True)


def _shift_keys(ops: Operations, case: _Case) -> Pairs:
    for (depth, size), interleaved in product(case.sizes(), (False, True)):
        got, _ = case.pool(2, depth, size, 3)
        expected, tables = got.double(), case.turns(depth, (0, 7, -100))
        blocks, turn = case.index(case.blocks(5)), case.index([0, 2, 1, 1, 0])
        ops.shift_keys(got, blocks, turn, *tables, interleaved)
        reference.shift_keys(expected, blocks, turn, *tables, interleaved)
        yield got, expected


def _weights(case: _Case, depth: int, *columns: int) -> tuple[list[Weight], list[Tensor]]:
    """As the backend keeps them (in panels if it packs), and in float64."""
    plain = [case.numbers(n, depth) / depth**0.5 for n in columns]
    return [pack(w) if case.packs else w for w in plain], [w.double() for w in plain]


def _linear(ops: Operations, case: _Case) -> Pairs:
    for rows, (depth, columns) in product(_ROWS, (((64, (48, 16, 16)), (33, (7, 1)), (770, (100,))))):
        x, scale, weights = case.numbers(rows, depth), case.numbers(depth), _weights(case, depth, *columns)
        add = case.numbers(rows, sum(columns))
        for norm, plus in ((None, None), (Norm(scale, 1e-6), add)):
            wide = norm and Norm(scale.double(), norm.eps)
            expected = reference.linear(x.double(), weights[1], wide, None if plus is None else plus.double())
            yield ops.linear(x, weights[0], norm, plus), expected


def _swiglu(ops: Operations, case: _Case) -> Pairs:
    for rows, (depth, columns) in product(_ROWS, ((64, 48), (33, 7), (770, 100))):
        x, scale = case.numbers(rows, depth), case.numbers(depth)
        (gate, up), wide = _weights(case, depth, columns, columns)
        expected = reference.swiglu(x.double(), wide[0], wide[1], Norm(scale.double(), 1e-6))
        yield ops.swiglu(x, gate, up, Norm(scale, 1e-6)), expected


def _rope(ops: Operations, case: _Case) -> Pairs:
    for rows, (depth, _), interleaved in product(_ROWS, case.sizes(), (False, True)):
        x, tables = case.numbers(rows, 3, depth), case.turns(depth, range(rows))
        wide = [table.double() for table in tables]
        yield ops.rope(x, *tables, interleaved), reference.rope(x.double(), wide[0], wide[1], interleaved)


def _copy_and_shift(ops: Operations, case: _Case) -> Pairs:
    for (depth, size), interleaved in product(case.sizes(), (False, True)):
        got = case.pool(2, depth, size, 3)
        expected, tables, blocks = [cache.double() for cache in got], case.turns(depth, (0, 7, -100)), case.blocks(10)
        lists = [case.index(numbers) for numbers in (blocks[:5], blocks[5:], [0, 2, 1, 1, 0])]
        ops.copy_and_shift(got[0], got[1], lists[0], lists[1], lists[2], *tables, interleaved)
        reference.copy_and_shift(expected[0], expected[1], lists[0], lists[1], lists[2], *tables, interleaved)
        yield from zip(got, expected, strict=True)


def _sample(ops: Operations, case: _Case) -> Pairs:
    for rows, vocabulary in product(_ROWS, (1, 7, 61, 430)):
        x, uniform = case.numbers(rows, vocabulary), torch.rand(rows, generator=case.generator, dtype=torch.float64)
        cuts = torch.full_like(uniform, 0.9), torch.full_like(uniform, 0.01)
        how = (torch.arange(rows) % 3).double(), torch.arange(rows) % 5, *cuts, uniform
        yield from zip(ops.sample(x, *how), reference.sample(x.double(), *how), strict=True)


_ROWS = (1, 2, 3, 8, 19)
_OPERATIONS: dict[str, Callable[[Operations, _Case], Pairs]] = {
    "write_kv": _write_kv,
    "paged_attention": _paged_attention,
    "copy_blocks": _copy_blocks,
    "shift_keys": _shift_keys,
    "copy_and_shift": _copy_and_shift,
    "linear": _linear,
    "swiglu": _swiglu,
    "rope": _rope,
    "sample": _sample,
}

"""The operations in CUDA (``csrc/cuda/``), behind the same checks as the C++ ones. ``reference.py`` says what each
does; this module does the same for tensors on a GPU stored as float32, bfloat16 or float16. All arithmetic is in
float32.

Everything runs on torch's current stream and nothing waits for the GPU, so a step can be captured as a CUDA graph.
That is also why a slot that lies on the GPU is not checked here: the kernel skips one that is out of range and
leaves a mark, which ``check`` turns into a ValueError.

The same class runs the emulated build, where ``device`` is the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from . import reference
from .checks import Checks, check_index, check_indices, dense_last, describe, place
from .cuda_plan import Cutting, DevicePlan, Room
from .packed import Norm, Packed, Weight
from .plan import AttentionPlan

STORAGE = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 3}  # the codes of csrc/cuda/operations.h

_ROWS = "rows of the captured step"  # in the prepared of a placed plan


class Cuda:
    """The operations of one extension module made from ``csrc/cuda``: ``miniapr._cuda``, or an emulated build."""

    dtypes = tuple(STORAGE)
    packs = False  # panels are the CPU's layout

    def __init__(self, module: ModuleType, device: str = "cuda", name: str = "cuda") -> None:
        self._module, self.device, self.name = module, device, name
        self._checks = Checks(STORAGE, device)
        self._out_of_range: dict[torch.device, Tensor] = {}  # int32 [1] each: row + 1 of a bad slot, or 0

    def build_info(self) -> dict[str, str]:
        """How the extension was built."""
        return dict(self._module.build_info())

    def check(self) -> None:
        """Wait for the GPU. Raises ValueError if a slot was out of range since the last check."""
        for mark in self._out_of_range.values():
            row = int(mark) - 1
            mark.zero_()
            if row >= 0:
                raise ValueError(f"slots[{row}] is beyond the pool; the row was not stored")

    def bucket(self, rows: int) -> int:
        return 1 << (rows - 1).bit_length()

    def place(self, plan: AttentionPlan, rows: int) -> AttentionPlan:
        placed = dataclasses.replace(plan)  # prepared apart from the original
        placed.prepared[_ROWS] = rows
        return placed

    def replan(self, placed: AttentionPlan, plan: AttentionPlan) -> bool:
        there = [x for x in placed.prepared.values() if isinstance(x, DevicePlan)]
        if not all(x.fits(plan) for x in there):
            return False
        for x in there:
            x.update(plan)
        return True

    def capture(self, function: Callable[[Any], Tensor]) -> Callable[[], Tensor]:
        """A CUDA graph of what ``function(operations)`` starts: see ``capture.Captures``. Called once before, since
        what is done the first time only (loading kernels, cuBLAS's workspace) must not be in the graph.

        Emulated, each replay is one more call.
        """
        if self.device == "cpu":
            result = function(self)
            return lambda: result.copy_(function(self))
        graph, current, side = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):  # where cuBLAS will be captured: it has a workspace for each stream
            function(self)
        current.wait_stream(side)
        with torch.cuda.graph(graph, stream=side):
            result = function(self)

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        """Store new keys and values of one layer: see ``reference.write_kv``.

        Raises ValueError if a slot is neither -1 nor in the pool (nothing is written then). Slots on the GPU are not
        looked at here: a negative one is skipped, one beyond the pool too, and the next ``check`` raises.
        """
        code, sizes = self._checks.layer(k_cache, v_cache)
        given = slots  # what lies on the host is read below, so it must live until then
        if on_host := slots.device.type == "cpu":
            check_index("slots", slots)
            slots = slots.to(k_cache.device, non_blocking=True)
        elif slots.dtype != torch.int64 or slots.dim() != 1 or slots.device != k_cache.device:
            raise ValueError(f"slots is {describe(slots)}, expected int64 [n] on the CPU or where the cache is")
        rows, slots = slots.shape[0], slots.contiguous()
        k, v = self._checks.tokens("k", k, rows, sizes, k_cache), self._checks.tokens("v", v, rows, sizes, k_cache)
        self._module.write_kv(
            self._where(k_cache), _heads(k), _heads(v),
            (k_cache.data_ptr(), k_cache.stride(0), v_cache.data_ptr(), v_cache.stride(0)), sizes,
            slots.data_ptr(), given.data_ptr() if on_host else 0, rows, self._mark(k_cache.device).data_ptr(), code,
        )  # fmt: skip

    def paged_attention(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        plan: AttentionPlan | DevicePlan,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
        version: int = 0,
    ) -> Tensor:
        """Softmax attention of every row over the runs that it sees: see ``reference.paged_attention``.

        Returns [N, Hq, D] in the type of q, which is float32 or that of the cache. A plan is cut and brought to the
        GPU when it is first used, so it must not be changed afterwards. ``version`` chooses one of the kernels in
        ``csrc/cuda/paged_attention.cu``; 0 is the best that runs here. For a q in 16 bits that is one on the tensor
        cores, which round q (if it is turned) and the softmax's weights to 16 bits.

        Raises ValueError if an index of the plan is out of range.
        """
        code, (_, heads, head_dim, block_size) = self._checks.layer(k_cache, v_cache)
        work = plan if isinstance(plan, DevicePlan) else self._prepare(plan, q, k_cache)
        q_heads = self._check_q(q, k_cache)
        if q.shape[0] != work.room.rows:
            raise ValueError(f"q has {q.shape[0]} rows, the plan has {work.room.rows}")
        turns = (0, 0, 0, False)
        if work.room.turns:
            cos, sin = self._checks.turns(shift_cos, shift_sin, head_dim, torch.float32)
            if cos.shape[0] < work.room.turns or cos.device != q.device:
                raise ValueError(f"shift_cos is {describe(shift_cos)}, the plan has {work.room.turns} shifts")
            turns = (cos.data_ptr(), sin.data_ptr(), cos.shape[0], interleaved)
        q, out = dense_last(q), q.new_empty(q.shape)
        self._module.paged_attention(
            self._where(q), (work.buffer.data_ptr(), work.value.data_ptr(), work.lse.data_ptr()),
            (work.room.units, work.room.rows), _heads(q), q.dtype == torch.float32,
            (k_cache.data_ptr(), k_cache.stride(0), v_cache.data_ptr(), v_cache.stride(0)),
            (heads, q_heads // heads, head_dim, block_size), turns, out.data_ptr(), code, version,
        )  # fmt: skip
        return out

    def device_plan(self, plan: AttentionPlan, q: Tensor, k_cache: Tensor, room: Room | None = None) -> DevicePlan:
        """A plan for queries and a pool like these, ready on their device: ``paged_attention`` takes it too."""
        q_heads = self._check_q(q, k_cache)
        blocks, heads, head_dim, block_size = k_cache.shape
        resident = self._module.attention_blocks(
            self._where(q), head_dim, q.dtype == torch.float32, STORAGE[k_cache.dtype]
        )
        cutting = Cutting(blocks, block_size, heads, q_heads, head_dim, -(-resident // heads))
        return DevicePlan(self._module, cutting, q.device, plan, room)

    def copy_blocks(self, k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
        """Copy whole blocks in all layers: see ``reference.copy_blocks``. The lists are on the CPU.

        Raises ValueError if a block is in both lists, twice in ``target``, or not in the pool.
        """
        code, sizes = self._checks.stacks(k_cache, v_cache)
        count = check_indices(source=source, target=target)
        self._module.copy_blocks(
            self._where(k_cache), place(k_cache), place(v_cache), sizes, source.data_ptr(), target.data_ptr(), count,
            code,
        )  # fmt: skip

    def shift_keys(
        self, k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
    ) -> None:
        """Turn every key of the given blocks, in all layers, in place: see ``reference.shift_keys``.

        The lists are on the CPU. Raises ValueError if a block is listed twice or is not in the pool, or a turn is
        not in the tables.
        """
        code, sizes = self._checks.stack("k_cache", k_cache)
        count = check_indices(blocks=blocks, turn=turn)
        cos, sin = self._checks.turns(shift_cos, shift_sin, sizes[3], torch.float32)
        self._module.shift_keys(
            self._where(k_cache), place(k_cache), sizes, blocks.data_ptr(), turn.data_ptr(), count,
            (cos.data_ptr(), sin.data_ptr(), cos.shape[0], interleaved), code,
        )  # fmt: skip

    def copy_and_shift(
        self,
        k_cache: Tensor,
        v_cache: Tensor,
        source: Tensor,
        target: Tensor,
        turn: Tensor,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
    ) -> None:
        """Copy whole blocks in all layers, the keys turned on the way, in one pass: see ``reference.copy_and_shift``.

        The lists are on the CPU. Raises ValueError for what ``copy_blocks`` or ``shift_keys`` refuses; nothing is
        written then.
        """
        code, sizes = self._checks.stacks(k_cache, v_cache)
        count = check_indices(source=source, target=target, turn=turn)
        cos, sin = self._checks.turns(shift_cos, shift_sin, sizes[3], torch.float32)
        self._module.copy_and_shift(
            self._where(k_cache), place(k_cache), place(v_cache), sizes,
            source.data_ptr(), target.data_ptr(), turn.data_ptr(), count,
            (cos.data_ptr(), sin.data_ptr(), cos.shape[0], interleaved), code,
        )  # fmt: skip

    @torch.no_grad()
    def linear(
        self, x: Tensor, weights: Sequence[Weight], norm: Norm | None = None, add: Tensor | None = None
    ) -> Tensor:
        """x [N, K] times each weight: see ``reference.linear``. The products are cuBLAS's, by way of torch.

        x, norm and add have the weights' type. Raises ValueError for packed weights: their layout is the CPU's.
        """
        self._checks.code("x", x, 2, "[N, K]")
        if not weights:
            raise ValueError("weights is empty")
        plain = [self._weight("weights", weight, x) for weight in weights]
        columns = sum(weight.shape[0] for weight in plain)
        if add is not None and add.shape == (columns,):
            add = add.expand(len(x), columns)
        if add is not None and (add.shape != (len(x), columns) or add.dtype != x.dtype or add.device != x.device):
            raise ValueError(f"add is {describe(add)}, expected {x.dtype} [{len(x)}, {columns}]")
        x = self.normed(x, norm) if norm else x
        out, begin = x.new_empty(len(x), columns), 0  # [N, sum N_i]
        for weight in plain:
            # Each product goes where it belongs: to put them together afterwards is a pass of its own.
            part = slice(begin, begin := begin + weight.shape[0])
            if add is None:
                torch.mm(x, weight.T, out=out[:, part])
            else:
                torch.addmm(add[:, part], x, weight.T, out=out[:, part])
        return out

    @torch.no_grad()
    def swiglu(self, x: Tensor, gate: Weight, up: Weight, norm: Norm | None = None) -> Tensor:
        """silu(x gate^T) * (x up^T) for x [N, K]: see ``reference.swiglu``. Raises ValueError as ``linear`` does."""
        self._checks.code("x", x, 2, "[N, K]")
        if gate.shape != up.shape:
            raise ValueError(f"up is {list(up.shape)}, gate is {list(gate.shape)}")
        both = self.linear(x, (gate, up), norm)  # [N, 2 I]
        return self.silu_gate(both)

    def silu_gate(self, both: Tensor) -> Tensor:
        """silu(gate) * up, the two side by side, [N, 2 I] -> [N, I]: the part of ``swiglu`` after its products."""
        code = self._checks.code("both", both, 2, "[N, 2 I]")
        both, rows, width = both.contiguous(), len(both), both.shape[1] // 2
        out = both.new_empty(rows, width)
        self._module.silu_gate(self._where(both), both.data_ptr(), out.data_ptr(), rows, width, code)
        return out

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, norm: Norm | None = None) -> Tensor:
        """Heads [N, heads, D] normed (in torch) and turned by tables [N, D / 2]: see ``reference.rope``."""
        code = self._checks.heads(x)
        if norm is not None:
            self._checks.head_norm(norm, x)
            x = reference.normed(x, norm)
        rows, heads, head_dim = x.shape
        cos, sin = self._checks.turns(cos, sin, head_dim, torch.float32, "cos", "sin")
        if cos.shape[0] != rows or cos.device != x.device:
            raise ValueError(f"cos is {describe(cos)}, expected {rows} rows as x has")
        x, out = dense_last(x), x.new_empty(rows, heads, head_dim)
        self._module.rope(
            self._where(x), _heads(x), rows, heads, head_dim,
            (cos.data_ptr(), sin.data_ptr(), rows, interleaved), out.data_ptr(), code,
        )  # fmt: skip
        return out

    def sample(
        self, logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A token for each row of logits [M, V], and its log-probability: by torch's own operations, on the device."""
        lists = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "uniform": uniform}
        self._checks.code("logits", logits, 2, "[M, V]")
        self._checks.draws(len(logits), **lists)
        return reference.sample(logits, **lists)

    def _check_q(self, q: Tensor, k_cache: Tensor) -> int:
        """[N, heads, D] where the cache is: the number of heads."""
        heads, head_dim = k_cache.shape[1:3]
        if q.dim() != 3 or q.shape[2] != head_dim or q.device != k_cache.device:
            raise ValueError(f"q is {describe(q)}, expected [rows, heads, {head_dim}] {self._checks.where}")
        if q.dtype not in (torch.float32, k_cache.dtype):
            raise ValueError(f"q is {q.dtype}, expected torch.float32 or {k_cache.dtype}, the type of k_cache")
        if head_dim < 2 or head_dim % 2:
            raise ValueError(f"k_cache: head size {head_dim} is not even")
        if not heads or not 0 < q.shape[1] < 2**16 or q.shape[1] % heads:
            raise ValueError(f"q has {q.shape[1]} heads, not a multiple of the {heads} of k_cache")
        return q.shape[1]

    def _prepare(self, plan: AttentionPlan, q: Tensor, k_cache: Tensor) -> DevicePlan:
        """The plan on the device, once for all layers."""
        key = (self._module, k_cache.shape, k_cache.dtype, q.shape[1:], q.dtype, q.device)
        known = plan.prepared.get(key)
        if not isinstance(known, DevicePlan):
            known = self.device_plan(plan, q, k_cache)
            rows = plan.prepared.get(_ROWS)
            if isinstance(rows, int):
                # To be captured: with room for what later steps bring, so that few of them need a new graph.
                known = self.device_plan(plan, q, k_cache, known.needed(plan, rows).rounded_up())
            plan.prepared[key] = known
        return known

    def normed(self, x: Tensor, norm: Norm) -> Tensor:
        """The norm of each row, [N, K] -> [N, K]: the part of ``linear`` and ``swiglu`` before their products."""
        if norm.bias is not None:
            return reference.normed(x, norm)
        rows, width = x.shape
        if norm.weight.shape != (width,) or norm.weight.dtype != x.dtype or norm.weight.device != x.device:
            raise ValueError(f"norm is {describe(norm.weight)}, expected {x.dtype} [{width}] as x is")
        x, weight, out = dense_last(x), norm.weight.contiguous(), x.new_empty(rows, width)
        self._module.rms_norm(
            self._where(x), x.data_ptr(), x.stride(0), weight.data_ptr(), norm.eps, out.data_ptr(), rows, width,
            STORAGE[x.dtype],
        )  # fmt: skip
        return out

    def _weight(self, label: str, weight: Weight, x: Tensor) -> Tensor:
        if isinstance(weight, Packed):
            raise ValueError(f"{label} has a packed one; on a GPU weights stay as they are")
        if weight.dim() != 2 or weight.shape[1] != x.shape[1] or weight.dtype != x.dtype or weight.device != x.device:
            raise ValueError(f"{label} has one of {describe(weight)}, x is {describe(x)}")
        return weight

    def _where(self, x: Tensor) -> tuple[int, int]:
        """The device's number, and the stream that torch uses on it."""
        if self.device == "cpu":
            return -1, 0
        return x.get_device(), torch.cuda.current_stream(x.device).cuda_stream

    def _mark(self, device: torch.device) -> Tensor:
        if device not in self._out_of_range:
            self._out_of_range[device] = torch.zeros(1, dtype=torch.int32, device=device)
        return self._out_of_range[device]


def _heads(x: Tensor) -> tuple[int, int, int]:
    """Address, and elements from one row and from one head to the next."""
    return x.data_ptr(), x.stride(0), x.stride(1)

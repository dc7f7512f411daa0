"""The four operations in C++ (``csrc/``), behind checks: bad arguments are a ``ValueError`` that names
the argument, never a crash. ``reference.py`` says what each operation does; this module does the same
for CPU tensors stored as float32, bfloat16 or float64.

The arithmetic is in float64 for float64 storage, else in float32; q comes in the type of the arithmetic
or of the storage. Caches may be views (a layer of a bigger tensor): any stride between blocks and between
layers, contiguous inside a block. A plan is checked and copied when it is first used, so it must not be
changed afterwards.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor

from . import reference
from .capture import Tape, Watch
from .checks import ARITHMETIC, Checks, check_index, check_indices, dense_last, describe, place, plan_tensors
from .packed import Norm, Packed, Weight
from .plan import AttentionPlan

CHECKS = Checks({torch.float32: 0, torch.bfloat16: 1, torch.float64: 2})  # the codes of csrc/common.h

# csrc/parallel.h sees to its own threads. torch shares them, and would hang in a forked child too.
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))


class Native:
    """The operations of one extension module made from ``csrc/``: ``miniapr._native``, or a learner's own build."""

    dtypes = tuple(CHECKS.storage)

    def __init__(self, module: ModuleType, name: str = "cpp") -> None:
        self._module, self.name = module, name
        self._maker = module.module if isinstance(module, Tape) else module  # whose plans these are

    # Captured steps: see ops/capture.py

    def bucket(self, rows: int) -> int:
        return rows

    def place(self, plan: AttentionPlan, rows: int) -> AttentionPlan:
        return dataclasses.replace(plan)  # prepared apart from the original

    def replan(self, placed: AttentionPlan, plan: AttentionPlan) -> bool:
        for (_, *sizes), native in placed.prepared.items():
            native.assign(self._prepare(plan, *sizes))
        return True

    def capture(self, function: Callable[[Native], Tensor]) -> Callable[[], Tensor]:
        tape = Tape(self._module)
        with Watch() as watch:
            result = function(Native(cast("ModuleType", tape), self.name))

        def replay(kept: Sequence[Tensor] = tuple(watch.kept)) -> Tensor:
            for call, arguments in tape.calls:
                call(*arguments)
            return result

        return replay

    def build_info(self) -> dict[str, str]:
        """How the extension was built, and which instruction set it uses here."""
        return dict(self._module.build_info())

    def write_kv(self, k: Tensor, v: Tensor, k_cache: Tensor, v_cache: Tensor, slots: Tensor) -> None:
        """Store new keys and values of one layer: see ``reference.write_kv``.

        Raises ValueError if a slot is neither -1 nor in the pool (nothing is written then).
        """
        storage, sizes = CHECKS.layer(k_cache, v_cache)
        blocks, heads, head_dim, block_size = sizes
        check_index("slots", slots)
        rows = slots.shape[0]
        k, v = CHECKS.tokens("k", k, rows, sizes, k_cache), CHECKS.tokens("v", v, rows, sizes, k_cache)
        self._module.write_kv(
            k.data_ptr(), k.stride(0), k.stride(1), v.data_ptr(), v.stride(0), v.stride(1),
            k_cache.data_ptr(), v_cache.data_ptr(), k_cache.stride(0), v_cache.stride(0),
            blocks, heads, head_dim, block_size, slots.data_ptr(), rows, storage, torch.get_num_threads(),
        )  # fmt: skip

    def paged_attention(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        plan: AttentionPlan,
        shift_cos: Tensor,
        shift_sin: Tensor,
        interleaved: bool,
    ) -> Tensor:
        """Softmax attention of every row over the runs that it sees: see ``reference.paged_attention``.

        Returns [N, Hq, D] in the type of q. Raises ValueError if an index of the plan is out of range.
        """
        storage, (blocks, heads, head_dim, block_size) = CHECKS.layer(k_cache, v_cache)
        if q.dim() != 3 or q.shape[2] != head_dim or q.device.type != "cpu":
            raise ValueError(f"q is {describe(q)}, expected [rows, heads, {head_dim}] on the CPU")
        arithmetic = ARITHMETIC[k_cache.dtype]
        if q.dtype not in (arithmetic, k_cache.dtype):
            raise ValueError(f"q is {q.dtype}, expected {arithmetic} or {k_cache.dtype}, the type of k_cache")
        q = dense_last(q)
        rows, q_heads, _ = q.shape
        if not heads or not q_heads or q_heads % heads:
            raise ValueError(f"q has {q_heads} heads, not a multiple of the {heads} of k_cache")
        native = self._prepare(plan, blocks, block_size, q_heads // heads)
        cos = sin = turns = 0
        if native.shifted:
            shift_cos, shift_sin = CHECKS.turns(shift_cos, shift_sin, head_dim, arithmetic)
            cos, sin, turns = shift_cos.data_ptr(), shift_sin.data_ptr(), shift_cos.shape[0]
        out = q.new_empty((rows, q_heads, head_dim))
        self._module.paged_attention(
            native, q.data_ptr(), rows, q_heads, q.stride(0), q.stride(1), q.dtype == torch.bfloat16,
            k_cache.data_ptr(), v_cache.data_ptr(), k_cache.stride(0), v_cache.stride(0),
            blocks, heads, head_dim, block_size, storage,
            cos, sin, turns, interleaved, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out

    def copy_blocks(self, k_cache: Tensor, v_cache: Tensor, source: Tensor, target: Tensor) -> None:
        """Copy whole blocks in all layers: see ``reference.copy_blocks``.

        Raises ValueError if a block is in both lists, twice in ``target``, or not in the pool.
        """
        storage, sizes = CHECKS.stacks(k_cache, v_cache)
        check_indices(source=source, target=target)
        self._module.copy_blocks(
            place(k_cache), place(v_cache), sizes, storage,
            source.data_ptr(), target.data_ptr(), source.shape[0], torch.get_num_threads(),
        )  # fmt: skip

    def shift_keys(
        self, k_cache: Tensor, blocks: Tensor, turn: Tensor, shift_cos: Tensor, shift_sin: Tensor, interleaved: bool
    ) -> None:
        """Turn every key of the given blocks, in all layers, in place: see ``reference.shift_keys``.

        Raises ValueError if a block is listed twice or is not in the pool, or a turn is not in the tables.
        """
        storage, sizes = CHECKS.stack("k_cache", k_cache)
        check_indices(blocks=blocks, turn=turn)
        shift_cos, shift_sin = CHECKS.turns(shift_cos, shift_sin, sizes[3], ARITHMETIC[k_cache.dtype])
        self._module.shift_keys(
            place(k_cache), sizes, storage, blocks.data_ptr(), turn.data_ptr(), blocks.shape[0],
            shift_cos.data_ptr(), shift_sin.data_ptr(), shift_cos.shape[0], interleaved, torch.get_num_threads(),
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

        Raises ValueError for what ``copy_blocks`` or ``shift_keys`` refuses; nothing is written then.
        """
        storage, sizes = CHECKS.stacks(k_cache, v_cache)
        check_indices(source=source, target=target, turn=turn)
        shift_cos, shift_sin = CHECKS.turns(shift_cos, shift_sin, sizes[3], ARITHMETIC[k_cache.dtype])
        self._module.copy_and_shift(
            place(k_cache), place(v_cache), sizes, storage,
            source.data_ptr(), target.data_ptr(), turn.data_ptr(), source.shape[0],
            shift_cos.data_ptr(), shift_sin.data_ptr(), shift_cos.shape[0], interleaved, torch.get_num_threads(),
        )  # fmt: skip

    def linear(
        self, x: Tensor, weights: Sequence[Weight], norm: Norm | None = None, add: Tensor | None = None
    ) -> Tensor:
        """x [N, K] times each weight: see ``reference.linear``. Packed weights run here, plain ones in torch.

        x, norm and add have the weights' type; the arithmetic is in that of the module, rounded once at the end.
        """
        if any(isinstance(weight, Tensor) for weight in weights):
            return reference.linear(x, weights, norm, add)
        return self._linear(x, cast("Sequence[Packed]", weights), norm, add, gated=False)

    def swiglu(self, x: Tensor, gate: Weight, up: Weight, norm: Norm | None = None) -> Tensor:
        """silu(x gate^T) * (x up^T) for x [N, K]: see ``reference.swiglu``."""
        if isinstance(gate, Tensor) or isinstance(up, Tensor):
            return reference.swiglu(x, gate, up, norm)
        if gate.shape != up.shape:
            raise ValueError(f"up is {list(up.shape)}, gate is {list(gate.shape)}")
        return self._linear(x, (gate, up), norm, None, gated=True)

    def _linear(
        self, x: Tensor, weights: Sequence[Packed], norm: Norm | None, add: Tensor | None, gated: bool
    ) -> Tensor:
        storage = CHECKS.code("x", x, 2, "[N, K]")
        (rows, depth), columns, panels = x.shape, 0, []
        for packed in weights:
            if packed.shape[1] != depth or packed.dtype != x.dtype:
                raise ValueError(
                    f"weights has one of {packed.dtype} {list(packed.shape)}, x is {describe(x)}: "
                    "the types and the last sizes must be the same"
                )
            panels.append((packed.panels.data_ptr(), packed.shape[0]))
            columns += packed.shape[0]
        if not panels:
            raise ValueError("weights is empty")
        if gated:
            columns //= 2
        if norm is not None and norm.bias is not None:  # GPT-2's is not worth a kernel
            x, norm = reference.normed(x, norm), None
        scale, eps, add_ptr, add_stride = 0, 0.0, 0, 0
        if norm is not None:
            weight = norm.weight
            if (
                weight.shape != (depth,)
                or weight.dtype != x.dtype
                or weight.device != x.device
                or weight.stride(0) != 1
            ):
                raise ValueError(f"norm is {describe(weight)}, expected contiguous {x.dtype} [{depth}] as x is")
            scale, eps = weight.data_ptr(), norm.eps
        if add is not None:
            add = add.expand(rows, columns) if add.shape == (columns,) else add
            if add.shape != (rows, columns) or add.dtype != x.dtype or add.device != x.device or add.stride(1) != 1:
                raise ValueError(f"add is {describe(add)}, expected {x.dtype} [{rows}, {columns}] in rows, as x is")
            add_ptr, add_stride = add.data_ptr(), add.stride(0)
        x, out = dense_last(x), x.new_empty(rows, columns)
        self._module.linear(
            x.data_ptr(), x.stride(0), rows, depth, scale, eps, panels, gated, add_ptr, add_stride, out.data_ptr(),
            storage, torch.get_num_threads(),
        )  # fmt: skip
        return out

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool, norm: Norm | None = None) -> Tensor:
        """Heads [N, heads, D] normed and turned by tables [N, D / 2]: see ``reference.rope``."""
        storage = CHECKS.heads(x)
        rows, heads, head_dim = x.shape
        cos, sin = CHECKS.turns(cos, sin, head_dim, ARITHMETIC[x.dtype], "cos", "sin")
        if cos.shape[0] != rows:
            raise ValueError(f"cos is {describe(cos)}, expected {rows} rows as x has")
        scale, eps = 0, 0.0
        if norm is not None:
            CHECKS.head_norm(norm, x)
            scale, eps = norm.weight.data_ptr(), norm.eps
        x, out = dense_last(x), x.new_empty(rows, heads, head_dim)
        self._module.rope(
            x.data_ptr(), x.stride(0), x.stride(1), rows, heads, head_dim, storage, scale, eps,
            cos.data_ptr(), sin.data_ptr(), interleaved, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return out

    def sample(
        self, logits: Tensor, temperature: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, uniform: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A token for each row of logits [M, V], and its log-probability: see ``reference.sample``."""
        storage = CHECKS.code("logits", logits, 2, "[M, V]")
        rows, vocabulary = logits.shape
        lists = CHECKS.draws(rows, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, uniform=uniform)
        logits, tokens, logprobs = dense_last(logits), top_k.new_empty(rows), uniform.new_empty(rows)
        self._module.sample(
            logits.data_ptr(), rows, logits.stride(0), vocabulary, storage, *lists,
            tokens.data_ptr(), logprobs.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return tokens, logprobs

    def _prepare(self, plan: AttentionPlan, blocks: int, block_size: int, group: int) -> Any:
        """The plan checked, copied and cut into units of work, once for all layers: its life is that of the plan."""
        key = (self._maker, blocks, block_size, group)
        known = plan.prepared.get(key)
        if known is not None:
            return known
        tensors = plan_tensors(plan)
        runs, edges, rows = len(plan.first), len(plan.edge_row), len(plan.row_ptr) - 1
        addresses = [x.data_ptr() for x in tensors]
        made = self._module.Plan(addresses, len(plan.blocks), runs, edges, rows, len(plan.shifts), *key[1:])
        plan.prepared[key] = made
        return made

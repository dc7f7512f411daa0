"""A compact GPT decoder of today: RMSNorm, RoPE, grouped-query attention, SwiGLU.

Two forward passes over the same weights and the same trunk. They differ in one function, ``attend``:

    dense   every token against every token, under an explicit mask: for training, and as the oracle
    paged   new tokens against a pool of cached keys and values, under an explicit plan: for the engine

Whatever attention depends on is an argument. Nothing is remembered between calls, so two engines can
run one model at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import LayerOperations, Operations, reference
from ..ops.packed import Norm, Packed, Weight, pack, plain
from ..ops.plan import AttentionPlan
from .config import ModelConfig
from .rope import cos_sin, rotate

# (layer number, q [..., Hq, D], k [..., H, D], v [..., H, D]) -> [..., Hq, D]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Matrix(nn.Module):
    """A weight [N, K]: a parameter to be trained, or packed into panels to be read fast."""

    weight: Weight

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns).uniform_(-1, 1) / math.sqrt(columns))

    def pack(self) -> None:
        if isinstance(weight := self.weight, Tensor):
            del self.weight  # a parameter's name takes nothing but parameters
            self.weight = pack(weight)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = plain(self.weight) if keep_vars else plain(self.weight).detach()

    def _apply(self, *args: Any, **kwargs: Any) -> Matrix:
        if isinstance(self.weight, Packed):
            raise ValueError("a packed model cannot be moved or converted: load it again with what you want")
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self


@dataclass(frozen=True)
class Batch:
    """All that a forward pass over N new tokens depends on, beside the weights and the pool.

    x                     [N, hidden_size], the tokens' embeddings
    cos, sin              [N, D / 2], of their positions
    slots                 [N] int64, where their keys and values go
    shift_cos, shift_sin  [S, D / 2], the rotation by minus each shift of the plan, if any is not 0
    plan                  what each row sees
    wanted                [M] int64, the rows whose logits are asked for; None: all
    """

    x: Tensor
    cos: Tensor
    sin: Tensor
    slots: Tensor
    shift_cos: Tensor
    shift_sin: Tensor
    plan: AttentionPlan
    wanted: Tensor | None


class RMSNorm(nn.Module):
    """The scale of a norm. It is applied by whatever reads the normed vector."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    @property
    def norm(self) -> Norm:
        return Norm(self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, head_dim = config.hidden_size, config.head_dim
        self.q_proj = Matrix(config.num_attention_heads * head_dim, width)
        self.k_proj = Matrix(config.num_key_value_heads * head_dim, width)
        self.v_proj = Matrix(config.num_key_value_heads * head_dim, width)
        self.o_proj = Matrix(width, config.num_attention_heads * head_dim)


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Matrix(config.intermediate_size, config.hidden_size)
        self.up_proj = Matrix(config.intermediate_size, config.hidden_size)
        self.down_proj = Matrix(config.hidden_size, config.intermediate_size)


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, number: int, attend: Attend, ops: LayerOperations) -> Tensor:
        """x [..., hidden_size]; cos, sin [..., D / 2] -> [..., hidden_size]"""
        config, attn, mlp = self.config, self.self_attn, self.mlp
        queries, keys = config.num_attention_heads, config.num_key_value_heads
        weights = attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight
        qkv = ops.linear(x, weights, self.input_layernorm.norm)  # [..., (Hq + 2 H) D]
        qkv = qkv.unflatten(-1, (-1, config.head_dim))  # [..., Hq + 2 H, D]
        qk, v = qkv.split((queries + keys, keys), -2)
        q, k = ops.rope(qk, cos, sin, config.rope_interleaved).split((queries, keys), -2)
        seen = attend(number, q, k, v).flatten(-2)  # [..., Hq D]
        x = ops.linear(seen, (attn.o_proj.weight,), add=x)
        inner = ops.swiglu(x, mlp.gate_proj.weight, mlp.up_proj.weight, self.post_attention_layernorm.norm)
        return ops.linear(inner, (mlp.down_proj.weight,), add=x)


class Trunk(nn.Module):
    """Everything but the head; the names of its parts are those of Hugging Face checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Matrix(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def enter(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens, positions [...] -> their embeddings [..., hidden_size], and cos and sin [..., D / 2]"""
        table = self.embed_tokens.weight
        x = table.take(tokens) if isinstance(table, Packed) else F.embedding(tokens, table)
        return x, *cos_sin(positions, self.config.head_dim, self.config.rope_theta, x.dtype)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, ops: LayerOperations) -> Tensor:
        """[..., hidden_size], before the last norm"""
        for number, layer in enumerate(self.layers):
            x = layer(x, cos, sin, number, attend, ops)
        return x


class Decoder(nn.Module):
    """Weights and two ways to run them. Attributes ``model`` and ``lm_head`` as in Hugging Face's Llama."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = Matrix(config.vocab_size, config.hidden_size)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def pack(self) -> Decoder:
        """Lay the weights out for steps of few rows (ops/packed.py), one after the other, each original let go:
        there is never a second copy of the model. A packed model runs, but cannot be trained."""
        embed, head = self.model.embed_tokens, self.lm_head
        tied = head.weight is embed.weight
        for matrix in self.modules():
            if isinstance(matrix, Matrix) and matrix is not embed:  # an embedding is looked up, not multiplied
                matrix.pack()
        if tied:
            del embed.weight
            embed.weight = head.weight
        return self

    @property
    def parameter_count(self) -> int:
        """Distinct numbers in the weights, packed or not."""
        weights = {id(m.weight): m.weight.numel() for m in self.modules() if isinstance(m, Matrix | RMSNorm)}
        return sum(weights.values())

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    def dense(self, tokens: Tensor, positions: Tensor, visible: Tensor, shift: Tensor | None = None) -> Tensor:
        """Logits of every token, without any cache.

        tokens     [B, T] int64
        positions  [B, T] int64
        visible    [B, T, T] bool, visible[b, i, j]: token i attends to token j; each must see itself
        shift      [B, T, T] int64, by how much key j counts as moved for query i; None: by nothing
        returns    [B, T, vocab_size]
        """
        group = self.config.num_attention_heads // self.config.num_key_value_heads

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [B, heads, T, D]
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)  # [B, Hq, T, D]
            if shift is None:
                out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None])
            else:
                score = self._shifted_scores(q, k, shift).masked_fill(~visible[:, None], -math.inf)
                out = score.softmax(-1) @ v
            return out.transpose(1, 2)  # [B, T, Hq, D]

        return self.head(self.model(*self.model.enter(tokens, positions), attend, reference), reference)

    def head(self, hidden: Tensor, ops: LayerOperations) -> Tensor:
        """[..., hidden_size] as the trunk gives it -> logits [..., vocab_size]"""
        return ops.linear(hidden, (self.lm_head.weight,), self.model.norm.norm)

    def _shifted_scores(self, q: Tensor, k: Tensor, shift: Tensor) -> Tensor:
        """Scores [B, Hq, T, T] where key j is first turned by shift[b, i, j]: the definition, spelt out."""
        score = q.new_zeros(*q.shape[:3], k.shape[2])
        for amount in torch.unique(shift):
            cos, sin = cos_sin(amount, self.config.head_dim, self.config.rope_theta, q.dtype)
            moved = rotate(k, cos, sin, self.config.rope_interleaved)
            score = torch.where((shift == amount)[:, None], q @ moved.transpose(-1, -2), score)
        return score / math.sqrt(self.config.head_dim)

    def paged(
        self,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        plan: AttentionPlan,
        k_cache: Tensor,
        v_cache: Tensor,
        ops: Operations,
        wanted: Tensor,
    ) -> Tensor:
        """Compute new tokens against the pool, and store their keys and values in it.

        tokens, positions  [N] int64
        slots              [N] int64, where each token's key and value go
        plan               what each of the N rows sees (the new tokens themselves included)
        k_cache, v_cache   [L, NB, H, D, B], [L, NB, H, B, D]; written in place
        wanted             [M] int64, the rows whose logits are asked for
        returns            [M, vocab_size]
        """
        return self.compute(self.batch(tokens, positions, slots, plan, wanted), k_cache, v_cache, ops)

    def batch(
        self, tokens: Tensor, positions: Tensor, slots: Tensor, plan: AttentionPlan, wanted: Tensor | None = None
    ) -> Batch:
        """What ``compute`` needs to know of new tokens; arguments as in ``paged``."""
        config = self.config
        x, cos, sin = self.model.enter(tokens, positions)
        turns = cos[:0], sin[:0]  # nobody looks
        if plan.shifted:
            back = -plan.shifts.to(x.device, torch.int64)  # [S]
            turns = cos_sin(back, config.head_dim, config.rope_theta, self.dtype)  # [S, D / 2] each
        return Batch(x, cos, sin, slots, *turns, plan, wanted)

    def compute(self, batch: Batch, k_cache: Tensor, v_cache: Tensor, ops: Operations) -> Tensor:
        """Logits [M, vocab_size]. Nothing but operations of the backend and views (and the choice of rows)."""
        turns = batch.shift_cos, batch.shift_sin, self.config.rope_interleaved

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Written before it is read: a token attends to itself, and rows of one chunk to each other.
            ops.write_kv(k, v, k_cache[layer], v_cache[layer], batch.slots)
            return ops.paged_attention(q, k_cache[layer], v_cache[layer], batch.plan, *turns)

        hidden = self.model(batch.x, batch.cos, batch.sin, attend, ops)  # [N, hidden_size]
        return self.head(hidden if batch.wanted is None else hidden[batch.wanted], ops)

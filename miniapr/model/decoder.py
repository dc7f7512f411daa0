"""A compact GPT decoder of today: RMSNorm, RoPE, grouped-query attention, SwiGLU. (``config.py`` lists in what the
families differ: Qwen's biases and head norms, and GPT-2.)

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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import LayerOperations, Operations, reference
from ..ops.packed import Norm
from ..ops.plan import AttentionPlan
from .config import ModelConfig
from .parts import Matrix, Scale, norm_of
from .rope import cos_sin, rotate

# (layer number, q [..., Hq, D], k [..., H, D], v [..., H, D]) -> [..., Hq, D]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


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


class Attention(nn.Module):
    """What stands before and after attention, and puts queries, keys and values side by side."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, head_dim = config.hidden_size, config.head_dim
        self.heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = Matrix(config.num_attention_heads * head_dim, width, config.qkv_bias)
        self.k_proj = Matrix(config.num_key_value_heads * head_dim, width, config.qkv_bias)
        self.v_proj = Matrix(config.num_key_value_heads * head_dim, width, config.qkv_bias)
        self.o_proj = Matrix(width, config.num_attention_heads * head_dim, config.output_bias)
        if config.head_norm:
            self.q_norm, self.k_norm = (Scale(head_dim, config.rms_norm_eps) for _ in range(2))
        self.kept: tuple[Tensor | None, Norm | None] | None = None

    def pack(self) -> None:
        """Put the small vectors together once and for all, not in every step."""
        self.kept = self.bias_and_norm()

    def bias_and_norm(self) -> tuple[Tensor | None, Norm | None]:
        """The biases [(Hq + 2 H) D], and the norm of each head of queries and keys (its scale is [Hq + H, D])."""
        if self.kept:
            return self.kept
        biases = [part.bias for part in (self.q_proj, self.k_proj, self.v_proj) if part.bias is not None]
        bias = torch.cat(biases) if biases else None
        if not hasattr(self, "q_norm"):
            return bias, None
        scales = [part.weight.expand(n, -1) for part, n in zip((self.q_norm, self.k_norm), self.heads, strict=True)]
        return bias, Norm(torch.cat(scales), self.q_norm.eps)


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = Matrix(config.intermediate_size, config.hidden_size)
        self.up_proj = Matrix(config.intermediate_size, config.hidden_size)
        self.down_proj = Matrix(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, norm: Norm, ops: LayerOperations) -> Tensor:
        """x + down(silu(gate(norm x)) * up(norm x)), [..., hidden_size]"""
        inner = ops.swiglu(x, self.gate_proj.weight, self.up_proj.weight, norm)
        return ops.linear(inner, (self.down_proj.weight,), add=x)


class GPT2MLP(nn.Module):
    """Two matrices and a GELU between them (GPT-2, Radford et al. 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = Matrix(config.intermediate_size, config.hidden_size, bias=True)
        self.down_proj = Matrix(config.hidden_size, config.intermediate_size, bias=True)

    def forward(self, x: Tensor, norm: Norm, ops: LayerOperations) -> Tensor:
        """x + down(gelu(up(norm x))), [..., hidden_size]"""
        inner = F.gelu(ops.linear(x, (self.up_proj.weight,), norm, self.up_proj.bias), approximate="tanh")
        return ops.linear(inner, (self.down_proj.weight,), add=self.down_proj.with_bias(x))


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.self_attn = Attention(config)
        self.mlp = GPT2MLP(config) if config.model_type == "gpt2" else MLP(config)
        self.input_layernorm = norm_of(config)
        self.post_attention_layernorm = norm_of(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, number: int, attend: Attend, ops: LayerOperations) -> Tensor:
        """x [..., hidden_size]; cos, sin [..., D / 2] -> [..., hidden_size]"""
        config, attn = self.config, self.self_attn
        queries, keys = config.num_attention_heads, config.num_key_value_heads
        weights = attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight
        bias, head_norm = attn.bias_and_norm()
        qkv = ops.linear(x, weights, self.input_layernorm.norm, bias)  # [..., (Hq + 2 H) D]
        qkv = qkv.unflatten(-1, (-1, config.head_dim))  # [..., Hq + 2 H, D]
        qk, v = qkv.split((queries + keys, keys), -2)
        if not config.learned_positions:
            qk = ops.rope(qk, cos, sin, config.rope_interleaved, head_norm)
        q, k = qk.split((queries, keys), -2)
        seen = attend(number, q, k, v).flatten(-2)  # [..., Hq D]
        x = ops.linear(seen, (attn.o_proj.weight,), add=attn.o_proj.with_bias(x))
        out: Tensor = self.mlp(x, self.post_attention_layernorm.norm, ops)
        return out


class Trunk(nn.Module):
    """Everything but the head; the names of its parts are those of Hugging Face's Llama, in every family."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Matrix(config.vocab_size, config.hidden_size)
        if config.learned_positions:
            self.embed_positions = Matrix(config.max_position_embeddings, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = norm_of(config)

    def enter(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens, positions [...] -> their embeddings [..., hidden_size], and cos and sin [..., D / 2] (where positions
        are learned there is nothing to turn: [..., 0])"""
        x = self.embed_tokens.take(tokens)
        if self.config.learned_positions:
            return x + self.embed_positions.take(positions), x[..., :0], x[..., :0]
        cos, sin = self.turns(positions, x.dtype)
        if (scaling := self.config.rope_scaling) and scaling.attention != 1:
            cos, sin = cos * scaling.attention, sin * scaling.attention
        return x, cos, sin

    def turns(self, by: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin [..., D / 2] of the rotation that moves a vector of type ``dtype`` by so many positions.

        Raises ValueError for learned positions, which nothing can move.
        """
        config = self.config
        if config.learned_positions:
            raise ValueError(f"{config.model_type} has learned positions: what was written at one cannot be moved")
        return cos_sin(by, config.head_dim, config.rope_theta, dtype, config.rope_scaling)

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
        looked_up = (embed, getattr(self.model, "embed_positions", None))  # never multiplied
        for matrix in self.modules():
            if isinstance(matrix, Matrix | Attention) and matrix not in looked_up:
                matrix.pack()
        if tied:
            del embed.weight
            embed.weight = head.weight
        return self

    @property
    def parameter_count(self) -> int:
        """Distinct numbers in the weights, packed or not."""
        parts = [m for m in self.modules() if isinstance(m, Matrix | Scale)]
        weights = {id(part.weight): part.weight.numel() for part in parts}
        return sum(weights.values()) + sum(part.bias.numel() for part in parts if part.bias is not None)

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    def dense(
        self,
        tokens: Tensor,
        positions: Tensor,
        visible: Tensor,
        shift: Tensor | None = None,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Logits, without any cache.

        tokens     [B, T] int64
        positions  [B, T] int64
        visible    [B, T, T] bool, visible[b, i, j]: token i attends to token j; each must see itself
        shift      [B, T, T] int64, by how much key j counts as moved for query i; None: by nothing
        wanted     [M] int64, the rows of B * T whose logits are asked for; None: all
        returns    [M, vocab_size], or [B, T, vocab_size]
        """
        group = self.config.num_attention_heads // self.config.num_key_value_heads
        hidden_from = torch.zeros_like(visible, dtype=self.dtype).masked_fill_(~visible, -math.inf)[:, None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [B, heads, T, D]
            if group > 1:
                k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)  # [B, Hq, T, D]
            q = q / math.sqrt(self.config.head_dim)
            score = q @ k.transpose(-1, -2) if shift is None else self._shifted_scores(q, k, shift)  # [B, Hq, T, T]
            return (score.add_(hidden_from).softmax(-1) @ v).transpose(1, 2)  # [B, T, Hq, D]

        hidden = self.model(*self.model.enter(tokens, positions), attend, reference)
        return self.head(hidden if wanted is None else hidden.flatten(0, 1).index_select(0, wanted), reference)

    def head(self, hidden: Tensor, ops: LayerOperations) -> Tensor:
        """[..., hidden_size] as the trunk gives it -> logits [..., vocab_size]"""
        return ops.linear(hidden, (self.lm_head.weight,), self.model.norm.norm)

    def _shifted_scores(self, q: Tensor, k: Tensor, shift: Tensor) -> Tensor:
        """Products [B, Hq, T, T] where key j is first turned by shift[b, i, j]: the definition, spelt out."""
        score = q.new_zeros(*q.shape[:3], k.shape[2])
        for amount in torch.unique(shift):
            cos, sin = self.model.turns(amount, q.dtype)
            moved = rotate(k, cos, sin, self.config.rope_interleaved)
            score = torch.where((shift == amount)[:, None], q @ moved.transpose(-1, -2), score)
        return score

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
        x, cos, sin = self.model.enter(tokens, positions)
        turns = cos[:0], sin[:0]  # nobody looks
        if plan.shifted:
            back = -plan.shifts.to(x.device, torch.int64)  # [S]
            turns = self.model.turns(back, self.dtype)  # [S, D / 2] each
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

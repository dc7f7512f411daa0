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
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ..ops import LayerOperations, Operations, reference
from ..ops.plan import AttentionPlan
from .config import ModelConfig
from .layer import Attend, Attention, Layer
from .parts import Matrix, Scale, norm_of
from .rope import cos_sin, rotate


@dataclass(frozen=True)
class Batch:
    """All that a forward pass over N new tokens depends on, beside the weights and the pool.

    x                     [N, hidden_size], the tokens' embeddings
    cos, sin              [N, D / 2], of their positions
    slots                 [N] int64, where their keys and values go
    shift_cos, shift_sin  [S, D / 2], the rotation by minus each shift of the plan, if any is not 0
    plan                  what each row sees
    wanted                [M] int64, the rows whose logits are asked for; None: all
    voiced                [N, L, (Hq + 2 H) D], what their voices add (``Trunk.voiced``); None: none has one
    """

    x: Tensor
    cos: Tensor
    sin: Tensor
    slots: Tensor
    shift_cos: Tensor
    shift_sin: Tensor
    plan: AttentionPlan
    wanted: Tensor | None
    voiced: Tensor | None = None


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

    def voiced(self, voices: Tensor | None) -> Tensor | None:
        """What the voices [...] int64 of tokens add in each layer: [..., L, (Hq + 2 H) D]. None, at no cost, for
        None: no token has one."""
        if voices is None:
            return None
        return torch.stack([cast("Layer", layer).self_attn.voiced(voices) for layer in self.layers], -2)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, voiced: Tensor | None, attend: Attend, ops: LayerOperations
    ) -> Tensor:
        """[..., hidden_size], before the last norm"""
        for number, layer in enumerate(self.layers):
            mine = None if voiced is None else voiced[..., number, :]
            x = layer(x, cos, sin, mine, number, attend, ops)
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
        voices = sum(weight.numel() for name, weight in self.named_parameters() if name.endswith("voices"))
        return sum(weights.values()) + sum(part.bias.numel() for part in parts if part.bias is not None) + voices

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
        voices: Tensor | None = None,
    ) -> Tensor:
        """Logits, without any cache.

        tokens     [B, T] int64
        positions  [B, T] int64
        visible    [B, T, T] bool, visible[b, i, j]: token i attends to token j; each must see itself
        shift      [B, T, T] int64, by how much key j counts as moved for query i; None: by nothing
        wanted     [M] int64, the rows of B * T whose logits are asked for; None: all
        voices     [B, T] int64, the voice in which each token is said, 0: in none; None: all in none
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

        entered = *self.model.enter(tokens, positions), self.model.voiced(voices)
        hidden = self.model(*entered, attend, reference)
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
        voices: Tensor | None = None,
    ) -> Tensor:
        """Compute new tokens against the pool, and store their keys and values in it.

        tokens, positions  [N] int64
        slots              [N] int64, where each token's key and value go
        plan               what each of the N rows sees (the new tokens themselves included)
        k_cache, v_cache   [L, NB, H, D, B], [L, NB, H, B, D]; written in place
        wanted             [M] int64, the rows whose logits are asked for
        voices             [N] int64, the voice in which each token is said, 0: in none; None: all in none
        returns            [M, vocab_size]
        """
        return self.compute(self.batch(tokens, positions, slots, plan, wanted, voices), k_cache, v_cache, ops)

    def batch(
        self,
        tokens: Tensor,
        positions: Tensor,
        slots: Tensor,
        plan: AttentionPlan,
        wanted: Tensor | None = None,
        voices: Tensor | None = None,
    ) -> Batch:
        """What ``compute`` needs to know of new tokens; arguments as in ``paged``."""
        x, cos, sin = self.model.enter(tokens, positions)
        turns = cos[:0], sin[:0]  # nobody looks
        if plan.shifted:
            back = -plan.shifts.to(x.device, torch.int64)  # [S]
            turns = self.model.turns(back, self.dtype)  # [S, D / 2] each
        return Batch(x, cos, sin, slots, *turns, plan, wanted, self.model.voiced(voices))

    def compute(self, batch: Batch, k_cache: Tensor, v_cache: Tensor, ops: Operations) -> Tensor:
        """Logits [M, vocab_size]. Nothing but operations of the backend and views (and the choice of rows)."""
        turns = batch.shift_cos, batch.shift_sin, self.config.rope_interleaved

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Written before it is read: a token attends to itself, and rows of one chunk to each other.
            ops.write_kv(k, v, k_cache[layer], v_cache[layer], batch.slots)
            return ops.paged_attention(q, k_cache[layer], v_cache[layer], batch.plan, *turns)

        hidden = self.model(batch.x, batch.cos, batch.sin, batch.voiced, attend, ops)  # [N, hidden_size]
        return self.head(hidden if batch.wanted is None else hidden[batch.wanted], ops)

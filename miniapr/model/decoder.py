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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import Operations
from ..ops.plan import AttentionPlan
from .config import ModelConfig
from .rope import cos_sin, rotate

# (layer number, q [..., Hq, D], k [..., H, D], v [..., H, D]) -> [..., Hq, D]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class RMSNorm(nn.Module):
    """x / rms(x) * weight (Zhang & Sennrich 2019). The mean square is taken in float32 at least."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width, head_dim = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(width, config.num_attention_heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, config.num_key_value_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, config.num_key_value_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * head_dim, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        heads = (-1, self.config.head_dim)
        q = self.q_proj(x).unflatten(-1, heads)  # [..., Hq, D]
        k = self.k_proj(x).unflatten(-1, heads)  # [..., H, D]
        v = self.v_proj(x).unflatten(-1, heads)  # [..., H, D]
        q = rotate(q, cos, sin, self.config.rope_interleaved).to(x.dtype)
        k = rotate(k, cos, sin, self.config.rope_interleaved).to(x.dtype)
        out: Tensor = self.o_proj(attend(layer, q, k, v).flatten(-2))
        return out


class MLP(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, number: int, attend: Attend) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, number, attend)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Trunk(nn.Module):
    """Everything but the head; the names of its parts are those of Hugging Face checkpoints."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """tokens, positions [...] -> [..., hidden_size]"""
        x = self.embed_tokens(tokens)
        cos, sin = cos_sin(positions, self.config.head_dim, self.config.rope_theta, x.dtype)
        cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)  # [..., 1, D / 2]: the same for every head
        for number, layer in enumerate(self.layers):
            x = layer(x, cos, sin, number, attend)
        out: Tensor = self.norm(x)
        return out


class Decoder(nn.Module):
    """Weights and two ways to run them. Attributes ``model`` and ``lm_head`` as in Hugging Face's Llama."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

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

        hidden = self.model(tokens, positions, attend)
        logits: Tensor = self.lm_head(hidden)
        return logits

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
        config = self.config
        table = cos_sin(-plan.shifts.long(), config.head_dim, config.rope_theta, self.dtype)  # [S, D / 2] each

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            # Written before it is read: a token attends to itself, and rows of one chunk to each other.
            ops.write_kv(k, v, k_cache[layer], v_cache[layer], slots)
            return ops.paged_attention(q, k_cache[layer], v_cache[layer], plan, *table, config.rope_interleaved)

        hidden = self.model(tokens, positions, attend)
        logits: Tensor = self.lm_head(hidden[wanted])
        return logits

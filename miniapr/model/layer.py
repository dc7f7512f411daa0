"""A decoder layer: what stands before and after attention. What attention is, the caller says (``Attend``)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops import LayerOperations
from ..ops.packed import Norm
from .config import ModelConfig
from .parts import Matrix, Scale, norm_of

# (layer number, q [..., Hq, D], k [..., H, D], v [..., H, D]) -> [..., Hq, D]
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]


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
        if config.voices:
            self.voices = nn.Parameter(torch.zeros(config.voices, head_dim))
        self.kept: tuple[Tensor | None, Norm | None] | None = None

    def pack(self) -> None:
        """Put the small vectors together once and for all, not in every step."""
        self.kept = self.bias_and_norm()
        self.register_load_state_dict_post_hook(Attention._renew)  # type: ignore[no-untyped-call]

    def _renew(self, _: object) -> None:
        """Other weights were loaded: what was put together follows, in the memory that is there."""
        kept, self.kept = self.kept, None
        for old, new in zip(_vectors(kept), _vectors(self.bias_and_norm()), strict=True):
            old.copy_(new)
        self.kept = kept

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

    def voiced(self, voice: Tensor) -> Tensor:
        """voice [...] int64, 0 for none -> what is added to queries (nothing), keys and values (the voice's vector, the
        same in every head), their biases included: [..., (Hq + 2 H) D] (ParaThinker, Wen et al. 2025, section 3)"""
        queries, keys = self.heads
        silent = queries * self.voices.shape[1]
        table = F.pad(self.voices.repeat(1, 2 * keys), (silent, 0, 1, 0))  # [1 + voices, (Hq + 2 H) D]
        bias, _ = self.bias_and_norm()
        return F.embedding(voice, table if bias is None else table + bias)


def _vectors(kept: tuple[Tensor | None, Norm | None] | None) -> list[Tensor]:
    bias, norm = kept or (None, None)
    return [vector for vector in (bias, norm and norm.weight) if vector is not None]


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

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, voiced: Tensor | None, number: int, attend: Attend,
        ops: LayerOperations,
    ) -> Tensor:  # fmt: skip
        """x [..., hidden_size]; cos, sin [..., D / 2]; voiced [..., (Hq + 2 H) D] or None -> [..., hidden_size]"""
        config, attn = self.config, self.self_attn
        queries, keys = config.num_attention_heads, config.num_key_value_heads
        weights = attn.q_proj.weight, attn.k_proj.weight, attn.v_proj.weight
        bias, head_norm = attn.bias_and_norm()
        bias = bias if voiced is None else voiced
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

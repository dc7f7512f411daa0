"""The peers in this process: plain PyTorch, and transformers. On the same weights, checked before they are timed.

Every branch owns a copy of the prefix's keys and values, which are random numbers: making them is not timed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import miniapr
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.rope import cos_sin, rotate
from miniapr.ops import Operations

from . import models
from .contestants import some_tokens


class TorchLoop:
    """A decoder in plain PyTorch. Every branch owns a copy of the prefix's keys and values."""

    def __init__(self, weights: dict[str, Tensor], config: ModelConfig) -> None:
        self.weights, self.config = weights, config
        self.dtype = weights["lm_head.weight"].dtype

    def caches(self, prefix: int, branches: int, room: int = 256) -> tuple[Tensor, Tensor]:
        c = self.config
        shape = (c.num_hidden_layers, branches, c.num_key_value_heads, prefix + room, c.head_dim)
        return torch.randn(shape, dtype=self.dtype), torch.randn(shape, dtype=self.dtype)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, begin: int, k_cache: Tensor, v_cache: Tensor) -> Tensor:
        """tokens [B, T] at positions begin.. -> logits of the last one [B, V]; the caches [L, B, H, room, D] grow."""
        c, w = self.config, self.weights
        batch, count = tokens.shape
        heads, group, end = c.num_key_value_heads, c.num_attention_heads // c.num_key_value_heads, begin + count
        cos, sin = (t[:, None] for t in cos_sin(torch.arange(begin, end), c.head_dim, c.rope_theta, self.dtype))
        x = w["model.embed_tokens.weight"][tokens]  # [B, T, width]
        for layer in range(c.num_hidden_layers):
            p = f"model.layers.{layer}."
            y = F.rms_norm(x, (c.hidden_size,), w[p + "input_layernorm.weight"], c.rms_norm_eps)
            q, k, v = (
                F.linear(y, w[f"{p}self_attn.{n}_proj.weight"]).view(batch, count, -1, c.head_dim) for n in "qkv"
            )
            q = rotate(q, cos, sin, False).to(self.dtype).transpose(1, 2)  # [B, Hq, T, D]
            k_cache[layer, :, :, begin:end] = rotate(k, cos, sin, False).to(self.dtype).transpose(1, 2)
            v_cache[layer, :, :, begin:end] = v.transpose(1, 2)
            keys, values = k_cache[layer, :, :, :end], v_cache[layer, :, :, :end]  # [B, H, end, D]
            if count == 1:  # the heads of a group as rows: the fastest form of SDPA for one token
                out = F.scaled_dot_product_attention(q.view(batch, heads, group, c.head_dim), keys, values)
            else:
                out = F.scaled_dot_product_attention(q, keys, values, is_causal=True, enable_gqa=True)
            out = out.reshape(batch, -1, count, c.head_dim).transpose(1, 2).flatten(2)  # [B, T, Hq * D]
            x = x + F.linear(out, w[p + "self_attn.o_proj.weight"])
            y = F.rms_norm(x, (c.hidden_size,), w[p + "post_attention_layernorm.weight"], c.rms_norm_eps)
            gate, up = (F.linear(y, w[f"{p}mlp.{n}_proj.weight"]) for n in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, w[p + "mlp.down_proj.weight"])
        x = F.rms_norm(x[:, -1], (c.hidden_size,), w["model.norm.weight"], c.rms_norm_eps)
        return F.linear(x, w["lm_head.weight"])

    def decoding(self, prefix: int, branches: int) -> Callable[[], None]:
        """A function that decodes one token of every branch."""
        k_cache, v_cache = self.caches(prefix, branches)
        at, tokens = prefix, torch.zeros(branches, 1, dtype=torch.int64)

        def step() -> None:
            nonlocal at, tokens
            tokens = self.forward(tokens, at, k_cache, v_cache).argmax(-1, keepdim=True)
            at += 1

        return step


class Transformers:
    """``LlamaForCausalLM`` on the same weights. Raises ImportError where transformers is not installed."""

    def __init__(self, weights: dict[str, Tensor], config: ModelConfig) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        raw = config.to_dict() | {"attn_implementation": "sdpa"}
        self.config = LlamaConfig(**{name: value for name, value in raw.items() if name != "rope_interleaved"})
        self.model = LlamaForCausalLM(self.config).eval().requires_grad_(False)
        self.model.load_state_dict(weights, assign=True)
        self.model.to(weights["lm_head.weight"].device)  # the tables that are no weights

    @torch.inference_mode()
    def forward(self, tokens: Tensor, cache: Any = None) -> Tensor:
        """[B, T] -> logits of the last token [B, V]"""
        out = self.model(input_ids=tokens, past_key_values=cache, use_cache=cache is not None, logits_to_keep=1)
        return out.logits[:, -1]

    def prefill(self, tokens: Tensor) -> Tensor:
        """tokens [B, T] into a fresh cache -> logits of the last one [B, V]"""
        from transformers import DynamicCache

        return self.forward(tokens, DynamicCache())

    def decoding(self, prefix: int, branches: int, kind: str) -> Callable[[], None]:
        """A function that decodes one token of every branch; ``kind`` of cache: dynamic or static."""
        from transformers import DynamicCache, StaticCache

        c, room = self.config, 256
        cache = DynamicCache() if kind == "dynamic" else StaticCache(config=c, max_cache_len=prefix + room)
        like: Any = {"dtype": self.model.dtype, "device": self.model.device}
        shape = (branches, c.num_key_value_heads, prefix, c.head_dim)
        for layer in range(c.num_hidden_layers):
            cache.update(torch.randn(shape, **like), torch.randn(shape, **like), layer)
        tokens = torch.zeros(branches, 1, dtype=torch.int64, device=self.model.device)

        def step() -> None:
            nonlocal tokens
            tokens = self.forward(tokens, cache).argmax(-1, keepdim=True)

        return step

    def faster(self, prefix: int, branches: int) -> tuple[str, Callable[[], None]]:
        """The kind of cache that is faster here, and its step."""
        steps = {kind: self.decoding(prefix, branches, kind) for kind in ("dynamic", "static")}
        best = {kind: min(_seconds(step) for _ in range(4)) for kind, step in steps.items()}
        kind = min(best, key=best.__getitem__)
        return kind, steps[kind]


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def check_equal(model: Decoder, ops: Operations, rivals: Sequence[TorchLoop | Transformers]) -> dict[str, float]:
    """The largest difference of each rival's next-token logits from this engine's, on a real prompt of 40 tokens.

    Raises ValueError where it is more than rounding: what computes something else must not be timed.
    """
    prompt = some_tokens(40, seed=7)
    own = miniapr.Engine(model, models.tokenizer(), num_blocks=8, backend=ops)
    ours = own.settle(own.start(prompt)).logits  # [V]
    assert ours is not None
    limit, found = 1e-3 if model.dtype == torch.float32 else 0.3, {}
    for rival in rivals:
        tokens = torch.tensor([prompt])  # [1, T]
        name = type(rival).__name__
        theirs = (
            rival.forward(tokens, 0, *rival.caches(40, 1)) if isinstance(rival, TorchLoop) else rival.forward(tokens)
        )
        found[name] = (theirs[0].float() - ours.float()).abs().max().item()
        if not found[name] < limit:
            raise ValueError(f"the logits of {name} differ by {found[name]:.2g} from the engine's, more than {limit}")
    return found

"""A small random model and an engine on it, for checks: wrong keys give wrong logits, in a millisecond."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engine.branch import Branch
from ..engine.engine import Engine
from ..kv.unroll import unroll
from ..model.config import ModelConfig
from ..model.decoder import Decoder


class Letters:
    """A tokenizer: token i is the i-th letter."""

    alphabet = "abcdefghijklmnopqrstuvwxyz"

    def encode(self, text: str, start: bool = True) -> list[int]:
        return [self.alphabet.index(letter) for letter in text]

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.alphabet[id] for id in ids)

    def id(self, token: str) -> int:
        return self.alphabet.index(token)


@functools.cache
def model() -> Decoder:
    """Two layers, float64, and weights large enough that every key matters."""
    config = ModelConfig(
        vocab_size=len(Letters.alphabet),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Decoder(config).double()
        for weight in made.parameters():
            if weight.dim() == 2:
                torch.nn.init.normal_(weight, std=1.5 / math.sqrt(weight.shape[1]))
    return made.requires_grad_(False)


def engine(**options: Any) -> Engine:
    """On the reference operations, with blocks of 3 tokens."""
    return Engine(model(), Letters(), **{"block_size": 3, "num_blocks": 200, "backend": "reference", **options})  # type: ignore[arg-type]


def causal(tokens: Sequence[int]) -> Tensor:
    """Logits [vocab_size] after plain text, without any cache."""
    count = len(tokens)
    visible = torch.ones(1, count, count, dtype=torch.bool).tril()
    return model().dense(torch.tensor([list(tokens)]), torch.arange(count)[None], visible)[0, -1]


def dense(branch: Branch) -> Tensor:
    """Logits [vocab_size] after a branch's last token, from what its view says and without any cache."""
    form = unroll([(branch.view, branch.span)])
    logits = model().dense(form.tokens[None], form.positions[None], form.visible[None], form.shift[None])
    return logits[0, form.index(branch.span, len(branch.span.tokens) - 1)]

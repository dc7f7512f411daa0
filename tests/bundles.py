"""A model that has learnt nothing, in a folder: its structure is right and what it writes is nonsense."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from miniapr.model import checkpoint
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.tasks.words import CONTROL, build_tokenizer


def chance(vocab_size: int, context: int, seed: int = 0) -> Decoder:
    """A model whose weights are chance. What stands in the first column of its head works as a bias: it is 0."""
    config = ModelConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=context,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Decoder(config).requires_grad_(False)
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.15)
    model.model.embed_tokens.weight[:, 0] = 2.0  # the same after every token, so the head's works as a bias
    model.lm_head.weight[:, 0] = 0.0
    return model


def write_nonsense(folder: Path, loudness: float, seed: int = 0, context: int = 2048) -> Path:
    """``loudness``: how likely the control tokens are; below 0 they never come."""
    tokenizer = build_tokenizer()
    model = chance(tokenizer.get_vocab_size(with_added_tokens=True), context, seed)
    for role in ("plan", "plan_end", "thread_end", "eos"):
        rare = role in ("thread_end", "eos") and loudness > 0
        model.lm_head.weight[tokenizer.token_to_id(CONTROL[role]), 0] = loudness / (2 if rare else 1)
    checkpoint.save(model, folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "miniapr.json").write_text(
        json.dumps({"format": "terse", "roles": ["adaptive", "sequential"], "control": CONTROL})
    )
    return folder

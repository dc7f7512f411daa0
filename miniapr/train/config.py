"""The options of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from ..model.bundle import find
from ..model.config import ModelConfig
from ..model.folder import read_config
from .optim import fast_bfloat16
from .own import Own
from .roles import Recipe, Roles
from .stream import Source


@dataclass(frozen=True)
class TrainConfig:
    """All that a run depends on, besides machine and thread count. Raises ValueError on bad values."""

    joins: str = "both"  # both, stitch or reprefill: how forked demonstrations are packed
    seed: int = 0
    tokens: int = 12_000_000  # budget; padding is not counted
    batch_tokens: int = 2048
    chunk_size: int = 512  # demonstrations that are sorted by length together
    hidden_size: int = 128
    intermediate_size: int = 352
    layers: int = 4
    heads: int = 4
    muon_rate: float = 0.02
    adam_rate: float = 4e-3
    warmup_steps: int = 100
    constant: float = 0.3  # share of the budget at full rate, before it falls linearly
    floor: float = 0.02  # of the full rate, at the end
    clip: float = 1.0
    autocast: bool = field(default_factory=fast_bfloat16)  # bfloat16 matrix products
    device: str = "cpu"
    start: str | None = None  # folder of a model whose weights the run begins with; None: from the seed
    demonstrations: str | None = None  # folder of what a model wrote itself, which is shown instead of a teacher's
    roles: Recipe = field(default_factory=Recipe)  # what is shown, and how often

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_tokens", "chunk_size", "hidden_size", "layers", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise ValueError(f"device {self.device!r}: {str(error).splitlines()[0]}") from None
        if self.hidden_size % (2 * self.heads):
            raise ValueError(f"hidden_size={self.hidden_size} is no even multiple of heads={self.heads}")

    def source(self) -> Source:
        if self.demonstrations is not None:
            return Own(self.demonstrations, self.joins)
        return Roles(self.roles, self.joins)

    def model(self, vocab_size: int) -> ModelConfig:
        return ModelConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            head_dim=self.hidden_size // self.heads,
            max_position_embeddings=4096,
            voices=self._voices(),
        )

    def _voices(self) -> int:
        """Those that the demonstrations speak in; one that learns from its own keeps the ones that it has."""
        if self.demonstrations is not None:
            return read_config(find(self.start)).voices if self.start is not None else 0
        return self.roles.voices if self.roles.shares.path else 0

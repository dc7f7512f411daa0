"""Rotary position embedding: a pure rotation, so that positions add up.

RoFormer (Su et al. 2021, section 3.2): dimension pair i of a vector at position p turns by p * f_i, where
f_i = theta^(-2i/d). Rotations compose, R(a) R(b) = R(a + b), and scores depend on differences only. Everything this
engine does with positions rests on that: a key stored at s and seen as moved by d scores against a query at p
as R(p - (s + d)). So either the key turns by d (shift_keys) or the query turns by -d (paged_attention).

Models that were stretched to a longer context have other f_i (``RopeScaling``). They still only rotate, so all of
this holds for them too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..ops.reference import rotate
from .checks import check_fields, positive, whole

__all__ = ["RopeScaling", "angles", "cos_sin", "rotate"]

# What a configuration says of each type, as we and Hugging Face write it.
WRITTEN: dict[str, tuple[str, ...]] = {
    "linear": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "truncate"),
    "each": (),
}
KNOWN = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "attention_factor", "mscale", "mscale_all_dim"}
KNOWN |= {"short_factor", "long_factor", *(name for names in WRITTEN.values() for name in names)}


@dataclass(frozen=True)
class RopeScaling:
    """How the frequencies of a longer context come from those of the original one, in Hugging Face's field names.

    linear  all divided by ``factor`` (Chen et al. 2023, position interpolation)
    llama3  the slow ones divided, the fast ones kept, a ramp between (Llama 3.1's release)
    yarn    likewise by the number of turns in the original context, vectors grow by ``attention`` (Peng et al. 2023)
    each    pair i divided by ``factors[i]``: how GGUF files write llama3's. Hugging Face's longrope, where the factors
            of long texts are those of short ones
    """

    rope_type: str
    factor: float = 1.0
    original_max_position_embeddings: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    attention: float = 1.0
    factors: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.rope_type not in WRITTEN:
            raise ValueError(f"rope_type {self.rope_type!r:.80} is not supported: only linear, llama3 and yarn")
        check_fields(self)
        for factor in self.factors:
            positive("rope_scaling's factors", factor)
        if (self.rope_type == "each") != bool(self.factors):
            raise ValueError(f"rope_scaling of type {self.rope_type} has {len(self.factors)} factors of its own")
        if self.rope_type in ("llama3", "yarn") and self.original_max_position_embeddings is None:
            raise ValueError(f"rope_scaling of type {self.rope_type} lacks original_max_position_embeddings")
        for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
            if getattr(self, low) >= getattr(self, high):
                raise ValueError(
                    f"rope_scaling's {low}={getattr(self, low)} must be below {high}={getattr(self, high)}"
                )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], context: int) -> RopeScaling | None:
        """Read ``rope_scaling`` or ``rope_parameters`` of a ``config.json``; None if nothing is scaled.

        Raises ValueError for a key that is not known here: it may change numbers.
        """
        if unknown := sorted(raw.keys() - KNOWN):
            raise ValueError(f"rope_scaling's {unknown[0]}={raw[unknown[0]]!r:.80} is not supported")
        kind = str(raw.get("rope_type", raw.get("type", "default")))
        if kind == "default":
            return None
        if kind == "longrope":
            return cls("each", factors=tuple(_long(raw)), attention=raw["attention_factor"])
        given = {f.name: raw[f.name] for f in fields(cls) if f.name in raw} | {"rope_type": kind}
        if kind in ("llama3", "yarn"):
            given.setdefault("original_max_position_embeddings", context)
        if kind == "yarn":
            original = whole("original_max_position_embeddings", given["original_max_position_embeddings"])
            given.setdefault("factor", context / original)
            given["attention"] = _yarn_attention(raw, positive("rope_scaling's factor", given["factor"]))
        elif kind in WRITTEN and "factor" not in given:
            raise ValueError(f"rope_scaling of type {kind} lacks factor")
        return cls(**given)

    def to_dict(self, context: int) -> dict[str, Any]:
        """As Hugging Face writes it for a model of that context."""
        if self.rope_type == "each":
            factors = {"short_factor": [*self.factors], "long_factor": [*self.factors]}
            more = {"attention_factor": self.attention, "original_max_position_embeddings": context}
            return {"rope_type": "longrope", "factor": 1.0, **factors, **more}
        written = {name: getattr(self, name) for name in WRITTEN[self.rope_type]}
        return {"rope_type": self.rope_type, **written} | (
            {"attention_factor": self.attention} if self.rope_type == "yarn" else {}
        )

    def frequencies(self, plain: Tensor, theta: float) -> Tensor:
        """[D / 2] float64 of plain RoPE -> those of the longer context."""
        original = self.original_max_position_embeddings or 0  # there where it is needed
        if self.rope_type == "each":
            return plain / plain.new_tensor(self.factors)
        if self.rope_type == "linear":
            return plain / self.factor
        if self.rope_type == "llama3":
            turns = original * plain / (2 * math.pi)  # in the original context
            kept = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        else:
            kept = 1 - self._yarn_ramp(plain, theta, original)
        kept = kept.clamp(0, 1)  # 1: as it was, 0: divided
        return kept * plain + (1 - kept) * plain / self.factor

    def _yarn_ramp(self, plain: Tensor, theta: float, original: int) -> Tensor:
        """[D / 2]: 0 at the pair that turns ``beta_fast`` times in the original context, 1 at ``beta_slow``."""
        head_dim = 2 * len(plain)

        def pair(turns: float) -> float:
            return head_dim * math.log(original / (turns * 2 * math.pi)) / log_theta

        log_theta = 2 * math.log(theta)
        low, high = pair(self.beta_fast), pair(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, head_dim - 1)
        index = torch.arange(len(plain), dtype=plain.dtype, device=plain.device)
        return (index - low) / max(high - low, 0.001)


def _yarn_attention(raw: Mapping[str, Any], factor: float) -> float:
    """By how much YaRN lets queries and keys grow: a longer context needs a sharper softmax."""

    def grown(by: float) -> float:
        return 0.1 * by * math.log(factor) + 1 if factor > 1 else 1.0

    if "attention_factor" in raw:
        return positive("attention_factor", raw["attention_factor"])
    if raw.get("mscale") and raw.get("mscale_all_dim"):
        return grown(positive("mscale", raw["mscale"])) / grown(positive("mscale_all_dim", raw["mscale_all_dim"]))
    return grown(1)


def _long(raw: Mapping[str, Any]) -> list[float]:
    """The factors of a longrope that are the same for short texts and for long ones: keys of others could not stay in a
    cache. Raises ValueError for those, and where attention_factor is left to be guessed."""
    factors: object = raw.get("short_factor")
    if not isinstance(factors, list) or factors != raw.get("long_factor") or "attention_factor" not in raw:
        raise ValueError("rope_type 'longrope' is not supported, but with one list of factors and an attention_factor")
    return factors


def angles(positions: Tensor, head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Tensor:
    """[...] int64 -> [..., head_dim / 2] float64. In float32 position 100,000 is off by a hundredth of a turn."""
    pair = torch.arange(0, head_dim, 2, dtype=torch.float64, device=positions.device)
    frequencies = theta ** (-pair / head_dim)  # [D / 2]
    if scaling:
        frequencies = scaling.frequencies(frequencies, theta)
    return positions.to(torch.float64)[..., None] * frequencies


def cos_sin(
    positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype, scaling: RopeScaling | None = None
) -> tuple[Tensor, Tensor]:
    """cos and sin of the rotation to each position, [..., head_dim / 2] each, for vectors of type ``dtype``.

    In float32 at least: bfloat16 tells cosines apart by 1/256 only, so far positions would melt together.
    """
    turn, dtype = angles(positions, head_dim, theta, scaling), torch.promote_types(dtype, torch.float32)
    return turn.cos().to(dtype), turn.sin().to(dtype)

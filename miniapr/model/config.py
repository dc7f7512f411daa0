"""What shapes a decoder: Hugging Face's field names, so that their ``config.json`` reads as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """A Llama-family decoder. ``rope_interleaved`` pairs dimensions (0, 1), (2, 3), ... instead of (i, i + d/2)."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    rope_interleaved: bool = False
    tie_word_embeddings: bool = False
    max_position_embeddings: int = 2048

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, is {getattr(self, name)}")
        if self.num_key_value_heads < 1 or self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: RoPE rotates pairs")

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read a ``config.json``. Raises ValueError for what this decoder would silently get wrong."""
        if raw.get("model_type", "llama") != "llama":
            raise ValueError(f"model_type {raw['model_type']!r} is not supported, only 'llama'")
        if raw.get("hidden_act", "silu") != "silu":
            raise ValueError(f"hidden_act {raw['hidden_act']!r} is not supported, only 'silu'")
        if raw.get("rope_scaling"):
            raise ValueError(f"rope_scaling {raw['rope_scaling']!r} is not supported")
        if (kind := (raw.get("rope_parameters") or {}).get("rope_type", "default")) != "default":
            raise ValueError(f"rope_type {kind!r} is not supported, only 'default'")
        for flag in ("attention_bias", "mlp_bias"):
            if raw.get(flag):
                raise ValueError(f"{flag} is not supported")
        given = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
        if "rope_theta" in (raw.get("rope_parameters") or {}):
            given.setdefault("rope_theta", raw["rope_parameters"]["rope_theta"])
        given.setdefault("num_key_value_heads", given.get("num_attention_heads"))
        if "head_dim" not in given and {"hidden_size", "num_attention_heads"} <= given.keys():
            given["head_dim"] = given["hidden_size"] // given["num_attention_heads"]
        missing = [f.name for f in fields(cls) if f.name not in given and f.default is f.default_factory]
        if missing:
            raise ValueError(f"config lacks {', '.join(missing)}")
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **asdict(self)}

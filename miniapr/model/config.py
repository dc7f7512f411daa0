"""What shapes a decoder: Hugging Face's field names, so that their ``config.json`` reads as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .checks import check_fields, whole
from .rope import RopeScaling

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",  # SmolLM2 is one
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
VOICED = "-voices"  # follows the family in the model_type of a model that has voices
# GPT-2 has names of its own for the same things.
GPT2_NAMES = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "rms_norm_eps",
    "activation_function": "hidden_act",
}
# What a config.json may leave out, and Hugging Face then takes.
LEFT_OUT: dict[str, dict[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-6},
    "qwen2": {"rms_norm_eps": 1e-6, "max_position_embeddings": 32768},
    "qwen3": {"rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "head_dim": 128},
    "gpt2": {"hidden_act": "gelu_new", "tie_word_embeddings": True, "max_position_embeddings": 1024},
}
# Settings that change the numbers, and the one value of each that this decoder computes.
ONLY = {
    "mlp_bias": False,
    "use_sliding_window": False,
    "partial_rotary_factor": 1.0,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "quantization_config": None,
}


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of one of four families. They differ in little:

    llama  RMSNorm, RoPE, grouped-query attention, SwiGLU
    qwen2  the same, with a bias on queries, keys and values
    qwen3  the same, with an RMSNorm on each head of queries and keys
    gpt2   LayerNorm, learned positions, GELU, a bias on everything

    ``rope_interleaved`` pairs dimensions (0, 1), (2, 3), ... instead of (i, i + d/2). ``attention_bias``: on queries,
    keys, values and the output. ``rms_norm_eps`` is a LayerNorm's too. ``voices``: how many a branch can be given to
    mark what it writes (ParaThinker, Wen et al. 2025: a learned vector per layer and voice).
    """

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
    model_type: str = "llama"
    attention_bias: bool = False
    rope_scaling: RopeScaling | None = None
    voices: int = 0

    def __post_init__(self) -> None:
        check_family(self.model_type)
        check_fields(self)
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads={self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads={self.num_key_value_heads}"
            )
        whole("num_attention_heads * head_dim", self.num_attention_heads * self.head_dim)
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: RoPE rotates pairs")
        if self.rope_theta <= 1:
            raise ValueError(f"rope_theta={self.rope_theta} must be above 1: later pairs turn slower")
        if self.rope_scaling and self.rope_scaling.factors and len(self.rope_scaling.factors) != self.head_dim // 2:
            raise ValueError(f"{len(self.rope_scaling.factors)} rope factors for {self.head_dim // 2} pairs")

    @property
    def learned_positions(self) -> bool:
        """Positions are vectors added to the embeddings, not rotations: keys cannot be moved."""
        return self.model_type == "gpt2"

    @property
    def head_norm(self) -> bool:
        """Each head of queries and keys is normed before it is turned."""
        return self.model_type == "qwen3"

    @property
    def qkv_bias(self) -> bool:
        return self.attention_bias or self.model_type in ("qwen2", "gpt2")

    @property
    def output_bias(self) -> bool:
        """On what attention gives back."""
        return self.attention_bias or self.model_type == "gpt2"

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read a ``config.json``. Raises ValueError for what this decoder would silently get wrong."""
        check_family(family := _family(raw))
        if family == "gpt2":
            raw = {**raw, **{ours: raw[theirs] for theirs, ours in GPT2_NAMES.items() if raw.get(theirs) is not None}}
        raw = LEFT_OUT[family] | {name: value for name, value in raw.items() if value is not None}
        rope = _rope(raw)
        _refuse(family, raw | rope)
        given = {f.name: raw[f.name] for f in fields(cls) if f.name in raw} | {"model_type": family}
        given["rope_theta"] = rope.get("rope_theta", given.get("rope_theta", cls.rope_theta))
        given.setdefault("num_key_value_heads", given.get("num_attention_heads"))
        if {"hidden_size", "num_attention_heads"} <= given.keys() and "head_dim" not in given:
            given["head_dim"] = head_size(given["hidden_size"], given["num_attention_heads"])
        if family == "gpt2" and "hidden_size" in given:
            given.setdefault("intermediate_size", 4 * whole("n_embd", given["hidden_size"]))
        needed = [f.name for f in fields(cls) if f.default is f.default_factory]  # neither has one
        if missing := [name for name in needed if given.get(name) is None]:
            raise ValueError(f"config lacks {', '.join(missing)}")
        context = whole("max_position_embeddings", given.get("max_position_embeddings", cls.max_position_embeddings))
        given["rope_scaling"] = RopeScaling.from_dict(rope, context)
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """As a ``config.json``, from which ``from_dict`` and Hugging Face read the same (but for ``rope_interleaved``,
        which Hugging Face doesn't know). A model with voices has a ``model_type`` of its own: Hugging Face would leave
        them out without a word, and so refuses it by that name."""
        scaling = self.rope_scaling.to_dict(self.max_position_embeddings) if self.rope_scaling else None
        said = {**asdict(self), "rope_scaling": scaling}
        if self.voices:
            return said | {"model_type": self.model_type + VOICED}
        del said["voices"]
        return {"architectures": [ARCHITECTURES[self.model_type]], **said}


def _family(raw: Mapping[str, Any]) -> Any:
    family = raw.get("model_type", "llama")
    return family.removesuffix(VOICED) if raw.get("voices") and isinstance(family, str) else family


def check_family(family: object) -> None:
    """Raises ValueError for a model_type that is not supported."""
    if not isinstance(family, str) or family not in ARCHITECTURES:
        raise ValueError(f"model_type {family!r:.80} is not supported: only {', '.join(ARCHITECTURES)}")


def head_size(hidden_size: object, heads: object) -> int:
    """Of a model that doesn't say. Raises ValueError if the heads don't share the width evenly."""
    width, heads = whole("hidden_size", hidden_size), whole("num_attention_heads", heads)
    if width % heads:
        raise ValueError(f"hidden_size={width} is not a multiple of num_attention_heads={heads}")
    return width // heads


def _rope(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration says of RoPE beside theta: ``rope_scaling`` in older files, ``rope_parameters`` in newer."""
    rope = raw.get("rope_scaling") or raw.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"rope_scaling must be an object, is {rope!r:.80}")
    rope = {name: value for name, value in rope.items() if value is not None}
    if "original_max_position_embeddings" in raw:  # beside it, as Phi-3 has it, it goes before
        rope["original_max_position_embeddings"] = raw["original_max_position_embeddings"]
    return rope


def _refuse(family: str, raw: Mapping[str, Any]) -> None:
    """Raise ValueError for a setting that this decoder does not compute."""
    known = ("gelu_new", "gelu_pytorch_tanh") if family == "gpt2" else ("silu", "swish")
    if (act := raw.get("hidden_act", known[0])) not in known:
        raise ValueError(f"hidden_act {act!r:.80} is not supported in {family}, only {known[0]!r}")
    for name, value in ONLY.items():
        if raw.get(name, value) != value:
            raise ValueError(f"{name}={raw[name]!r:.80} is not supported")
    if not isinstance(kinds := raw.get("layer_types", []), list) or any(kind != "full_attention" for kind in kinds):
        raise ValueError(f"layer_types={kinds!r:.80} are not supported, only full_attention")

"""GGUF files (llama.cpp's format): weights and configuration. (gguf_text.py: the tokenizer.)

Every key of the file's architecture is honoured or refused by name: a key that is not known here may change numbers.
Quantised weights are expanded when they are read; a step then computes with the rounded numbers, in float32 or what
was asked for, so it is the same model and not the same speed as llama.cpp's.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .checks import positive, whole
from .config import ModelConfig, check_family, head_size
from .gguf_table import read_table
from .rope import RopeScaling
from .stored import Stored

# What of a configuration has which key, after the architecture's name.
KEYS = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
}
EPS = {"gpt2": "attention.layer_norm_epsilon"}
RMS_EPS = "attention.layer_norm_rms_epsilon"
# Keys with one meaning of their own, read where they are needed.
READ = {
    "attention.head_count_kv",
    "attention.key_length",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scale_linear",
}
# Keys that may say one thing only: what is computed here, with or without them.
ONLY = {
    "attention.causal": True,
    "expert_count": 0,
    "expert_used_count": 0,
    "attention.clamp_kqv": 0,
    "attention.max_alibi_bias": 0,
    "rope.scaling.yarn_ext_factor": 1,
    "rope.scaling.yarn_attn_factor": 1,
    "rope.scaling.yarn_log_multiplier": 0,
}
# Keys that change no number: where a model comes from, and what is made of its hidden states.
NEUTRAL = {"rope.scaling.finetuned", "tensor_data_layout", "pooling_type"}


class GGUF:
    """What a file, or the first of those that a model was split into, says. Raises ValueError if it is no GGUF file, is
    cut short, or another part is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values, self._tensors = read_table(path)
        parts = self.get("split.count", 0)
        if parts in (0, 1):
            return
        first = f"-00001-of-{whole('split.count', parts):05d}.gguf"
        if not path.name.endswith(first):
            raise ValueError(f"{path} is one of {parts} parts of a model: give the one that ends in {first}")
        for number in range(2, parts + 1):
            part = path.with_name(f"{path.name.removesuffix(first)}-{number:05d}-of-{parts:05d}.gguf")
            more = read_table(part)[1]
            if twice := self._tensors.keys() & more.keys():
                raise ValueError(f"{part}: tensor {min(twice)!r} is in another part too")
            self._tensors |= more

    def get(self, key: str, default: Any = None) -> Any:
        """A value of the file's table: a number, bool, str, or list of them."""
        return self._values.get(key, default)

    def tensors(self) -> dict[str, Stored]:
        """By their names in the file."""
        return dict(self._tensors)

    def config(self) -> ModelConfig:
        """Raises ValueError for an architecture that is not known, and for a key that is missing or that asks for what
        this decoder does not compute."""
        try:
            return self._config(str(self.get("general.architecture")))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def _config(self, family: str) -> ModelConfig:
        def own(key: str, default: Any = None) -> Any:
            return self.get(f"{family}.{key}", default)

        keys = {**KEYS, "rms_norm_eps": EPS.get(family, RMS_EPS)}
        given: dict[str, Any] = {ours: own(key) for ours, key in keys.items()}
        check_family(family)
        if missing := [f"{family}.{keys[ours]}" for ours, value in given.items() if value is None]:
            raise ValueError(f"key {missing[0]} is missing")
        if "token_embd.weight" not in self._tensors:
            raise ValueError("tensor 'token_embd.weight' is missing")
        rows = self._tensors["token_embd.weight"].shape[0]
        head_dim = own("attention.key_length") or head_size(given["hidden_size"], given["num_attention_heads"])
        shaped = {"attention.value_length": head_dim, "rope.dimension_count": head_dim, "vocab_size": rows}
        self._refuse(family, {*keys.values()} | READ, ONLY | shaped)
        return ModelConfig(
            **given,
            model_type=family,
            vocab_size=rows,
            num_key_value_heads=own("attention.head_count_kv", given["num_attention_heads"]),
            head_dim=head_dim,
            rope_theta=own("rope.freq_base", 10_000.0),
            tie_word_embeddings="output.weight" not in self._tensors,
            rope_interleaved=family == "llama",
            attention_bias="blk.0.attn_output.bias" in self._tensors and family != "gpt2",
            rope_scaling=self._rope_scaling(f"{family}.rope", given["max_position_embeddings"]),
        )

    def _refuse(self, family: str, known: set[str], only: dict[str, Any]) -> None:
        """Raise ValueError for a key of the architecture that is not known, or not with this value."""
        for key, value in self._values.items():
            name = key.removeprefix(f"{family}.")
            if name == key or name in known or name in NEUTRAL:
                continue
            if name not in only:
                raise ValueError(f"{key}={value!r:.80} is not supported")
            if value != only[name]:
                raise ValueError(f"{key}={value!r:.80} is not supported, only {only[name]}")

    def _rope_scaling(self, where: str, context: int) -> RopeScaling | None:
        """As llama.cpp takes it: a factor without a type is linear, 0 is none, and ``scale_linear`` is its old name."""
        keys = {"factor": "scaling.factor", "attn": "scaling.attn_factor", "old": "scale_linear"}
        found = {ours: self.get(f"{where}.{key}") for ours, key in keys.items()}
        kind = self.get(f"{where}.scaling.type", "linear")
        factor = found["old"] if found["factor"] is None else found["factor"]
        factor = positive(f"{where}.scaling.factor", factor or 1.0)
        grown = positive(f"{where}.scaling.attn_factor", 1.0 if found["attn"] is None else found["attn"])
        if kind != "yarn" and grown != 1:
            raise ValueError(f"{where}.scaling.attn_factor={grown} is not supported without YaRN")
        if "rope_freqs.weight" in self._tensors:  # llama3's, written out
            if kind != "none" and factor != 1:
                raise ValueError(f"{where}.scaling.factor={factor} is not supported beside tensor 'rope_freqs.weight'")
            return RopeScaling("each", factors=tuple(self._tensors["rope_freqs.weight"].read().double().tolist()))
        if kind == "yarn":
            return RopeScaling(
                kind,
                factor,
                self.get(f"{where}.scaling.original_context_length", context),
                beta_fast=self.get(f"{where}.scaling.yarn_beta_fast", 32.0),
                beta_slow=self.get(f"{where}.scaling.yarn_beta_slow", 1.0),
                attention=grown * (1 + 0.1 * math.log(max(factor, 1))),
            )
        if kind not in ("none", "linear"):
            raise ValueError(f"{where}.scaling.type={kind!r} is not supported, only none, linear and yarn")
        return RopeScaling(kind, factor) if kind == "linear" and factor != 1 else None

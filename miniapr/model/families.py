"""What the tensors of a model file are called, and what of a decoder each one is.

Our names are those of Hugging Face's Llama. Qwen's are the same. GPT-2 has others, and keeps queries, keys and values
in one matrix; GGUF files have one set of names for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import Tensor

from .config import ModelConfig

Change = Callable[[Tensor], Tensor]
Translation = Callable[[str], "dict[str, Change]"]


def same(tensor: Tensor) -> Tensor:
    return tensor


def turned(tensor: Tensor) -> Tensor:
    """GPT-2's matrices are [K, N]."""
    return tensor.T if tensor.dim() == 2 else tensor


def half_split(config: ModelConfig, name: str, tensor: Tensor) -> Tensor:
    """A tensor of ours, with what RoPE turns in the order that Hugging Face has: of each head of queries and keys, the
    pairs (0, 1), (2, 3), ... of ``rope_interleaved`` become (0, d/2), (1, d/2 + 1), ... (not in a model with voices,
    which Hugging Face doesn't read)"""
    if config.voices or not config.rope_interleaved or not re.search(r"\.[qk]_(proj|norm)\.(weight|bias)$", name):
        return tensor
    pairs = tensor.unflatten(0, (-1, config.head_dim // 2, 2))  # [heads, D / 2, 2, ...]
    halves: Tensor = pairs.transpose(1, 2).flatten(0, 2)  # [heads D, ...]
    return halves


def hugging_face(config: ModelConfig) -> Translation:
    """From a tensor's name in a checkpoint to our names, each with what is to be done to the tensor. Empty for what
    a decoder does not need (buffers that old checkpoints saved); a name that nobody knows stays as it is."""
    own = _gpt2(config) if config.model_type == "gpt2" else _llama
    unused = re.compile(r"rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$")

    def translate(name: str) -> dict[str, Change]:
        if unused.search(name) or (config.tie_word_embeddings and name == "lm_head.weight"):
            return {}
        return own(name)

    return translate


def _llama(name: str) -> dict[str, Change]:
    return {name: same}


QKV = ("q_proj", "k_proj", "v_proj")
GPT2 = {
    "ln_1": "input_layernorm",
    "ln_2": "post_attention_layernorm",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
}
GPT2_TOP = {"wte": "embed_tokens", "wpe": "embed_positions", "ln_f": "norm"}


def _gpt2(config: ModelConfig) -> Translation:
    def translate(name: str) -> dict[str, Change]:
        short = name.removeprefix("transformer.")
        if found := re.fullmatch(r"(wte|wpe|ln_f)\.(weight|bias)", short):
            return {f"model.{GPT2_TOP[found[1]]}.{found[2]}": same}
        if found := re.fullmatch(r"h\.(\d+)\.attn\.c_attn\.(weight|bias)", short):
            return _thirds(f"model.layers.{found[1]}.self_attn", found[2], config, turned)
        if (found := re.fullmatch(r"h\.(\d+)\.(.+)\.(weight|bias)", short)) and found[2] in GPT2:
            return {f"model.layers.{found[1]}.{GPT2[found[2]]}.{found[3]}": turned}
        return {name: same}

    return translate


def _thirds(where: str, kind: str, config: ModelConfig, first: Change) -> dict[str, Change]:
    """Queries, keys and values of one tensor."""

    def third(number: int) -> Change:
        size = config.hidden_size
        return lambda tensor: first(tensor)[number * size : (number + 1) * size]

    return {f"{where}.{part}.{kind}": third(number) for number, part in enumerate(QKV)}


GGUF = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
GGUF_TOP = {
    "token_embd": "model.embed_tokens",
    "position_embd": "model.embed_positions",
    "output_norm": "model.norm",
    "output": "lm_head",
}


def gguf(config: ModelConfig) -> Translation:
    """As ``hugging_face``, for the names in a GGUF file. (Its Llama matrices are ordered for interleaved RoPE, which
    the configuration says; so nothing needs to be put in another order.)"""

    def translate(name: str) -> dict[str, Change]:
        part, _, kind = name.rpartition(".")
        if part == "rope_freqs":  # went into the configuration
            return {}
        if part in GGUF_TOP:
            return {f"{GGUF_TOP[part]}.{kind}": same}
        if found := re.fullmatch(r"blk\.(\d+)\.(\w+)", part):
            layer = f"model.layers.{found[1]}"
            if found[2] == "attn_qkv":
                return _thirds(f"{layer}.self_attn", kind, config, same)
            if found[2] in GGUF:
                return {f"{layer}.{GGUF[found[2]]}.{kind}": same}
        return {name: same}

    return translate

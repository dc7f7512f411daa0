"""The two models that are timed, with random weights, and the bytes that a step cannot avoid to read."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.tokenizer import Tokenizer
from miniapr.ops import Operations, Weight
from miniapr.ops.packed import pack
from miniapr.tasks.words import build_tokenizer

SIZES = {
    "S": ModelConfig(4096, 384, 1024, 6, 6, 2, 64, max_position_embeddings=32768),
    "M": ModelConfig(32000, 768, 2048, 12, 12, 4, 64, max_position_embeddings=32768),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def build(size: str, dtype: torch.dtype, seed: int = 0) -> Decoder:
    """Random weights: time does not depend on what a model says. The spread keeps the logits of order one."""
    torch.manual_seed(seed)
    model = Decoder(SIZES[size]).requires_grad_(False).eval()
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "embed" not in name:
            weight.normal_(0, weight.shape[1] ** -0.5)
    return model.to(dtype)


def lay_out(model: Decoder, ops: Operations) -> None:
    """Pack the weights for the backends that want them so (C++ on the CPU)."""
    if model.device.type == "cpu" and ops.name != "reference":
        model.pack()


def weights(model: Decoder) -> dict[str, Tensor]:
    """A copy of every tensor under its Hugging Face name, for the peers (the engine may lay its own out anew)."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def tokenizer() -> Tokenizer:
    return Tokenizer(build_tokenizer())


def save_tokenizer(folder: Path) -> None:
    """The words of the shipped task, as Hugging Face folders have them: some peers refuse a folder without."""
    build_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')


def weight_elements(config: ModelConfig) -> int:
    """Weights that every step reads: all matrices and norms and the head; of the embedding only a row a token."""
    heads = config.num_attention_heads + config.num_key_value_heads
    attention = 2 * heads * config.head_dim * config.hidden_size  # q, o and k, v
    layer = attention + 3 * config.hidden_size * config.intermediate_size + 2 * config.hidden_size
    head = config.hidden_size * config.vocab_size + config.hidden_size  # and the last norm
    return config.num_hidden_layers * layer + head


def kv_elements(config: ModelConfig, tokens: int) -> int:
    """Keys and values of ``tokens`` tokens in all layers."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * tokens


def floor_bytes(config: ModelConfig, itemsize: int, prefix: int, branches: int, own: int = 0) -> int:
    """What a step must read at least: the weights once, the shared prefix once, each branch's own tokens.

    Divided by the read bandwidth it is the floor of a step. It counts no arithmetic, so with many branches the
    true limit lies above it.
    """
    rows = branches * config.hidden_size  # of the embedding
    return itemsize * (weight_elements(config) + rows + kv_elements(config, prefix + branches * own))


def pack_for(ops: Operations, weight: Tensor) -> Weight:
    """A weight as the backend keeps it: in panels, or as it is."""
    return weight if ops.name == "reference" else pack(weight)

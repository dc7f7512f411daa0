"""The tokenizer inside a GGUF file (keys ``tokenizer.ggml.*``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from .gguf import GGUF
from .tokenizer import Tokenizer

CONTROL, USER_DEFINED = 3, 4  # kinds of tokens
# How text is cut into words before bytes are paired, by the name that the file gives it.
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"


def _by_regex(numbers: str) -> list[Any]:
    pattern = Regex(CONTRACTIONS + LETTERS % numbers)
    return [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]


SPLITS: dict[str, Callable[[], list[Any]]] = {
    "default": lambda: [pre_tokenizers.ByteLevel(False)],
    "gpt-2": lambda: [pre_tokenizers.ByteLevel(False)],
    "smollm": lambda: [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)],
    "qwen2": lambda: _by_regex(r"\p{N}"),
    "llama-bpe": lambda: _by_regex(r"\p{N}{1,3}"),
}


def read_tokenizer(file: GGUF) -> Tokenizer:
    """The byte-pair tokenizer in the file. Raises ValueError for another kind."""
    kind, pre = file.get("tokenizer.ggml.model"), file.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or pre not in SPLITS:
        raise ValueError(f"{file.path}: tokenizer {kind!r} ({pre!r}) is not supported, only gpt2's with {set(SPLITS)}")
    tokens, types = file.get("tokenizer.ggml.tokens"), file.get("tokenizer.ggml.token_type")
    merges = [tuple(pair.split(" ")) for pair in file.get("tokenizer.ggml.merges")]
    inner = tokenizers.Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, merges))
    if pre == "qwen2":
        inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(SPLITS[pre]())
    inner.decoder = decoders.ByteLevel()
    added = [(token, type) for token, type in zip(tokens, types, strict=True) if type in (CONTROL, USER_DEFINED)]
    inner.add_tokens([AddedToken(token, special=type == CONTROL, normalized=False) for token, type in added])
    special = {name: file.get(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "eot")}
    named = {name: tokens[id] for name, id in special.items() if id is not None}
    return Tokenizer(inner, file.get("tokenizer.chat_template"), named)

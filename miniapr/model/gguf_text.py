"""The tokenizer inside a GGUF file (keys ``tokenizer.ggml.*``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .gguf import GGUF

CONTROL, USER_DEFINED = 3, 4  # kinds of tokens
ROLES = ("bos", "eos", "eot", "eom")
# How text is cut into words before bytes are paired, by the name that the file gives it.
LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"


def _by_regex(numbers: str) -> list[Any]:
    pattern = Regex(CONTRACTIONS + LETTERS % numbers)
    return [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]


SPLITS: dict[str, Callable[[], list[Any]]] = {
    "gpt-2": lambda: [pre_tokenizers.ByteLevel(False)],
    "smollm": lambda: [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)],
    "qwen2": lambda: _by_regex(r"\p{N}"),
    "llama-bpe": lambda: _by_regex(r"\p{N}{1,3}"),
}


def read_tokenizer(file: GGUF) -> Tokenizer:
    """The byte-pair tokenizer in the file. Raises ValueError for another kind, for a file that does not say how it
    cuts text into words, and for tables that are broken."""
    kind, pre = (file.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    if kind != "gpt2" or pre not in SPLITS:
        said = "tokenizer.ggml.pre is missing" if kind == "gpt2" and pre is None else f"tokenizer {kind!r} ({pre!r})"
        raise ValueError(f"{file.path}: {said}: only gpt2's are supported, cut as {', '.join(SPLITS)}")
    try:
        return _read(file, pre)
    except Exception as error:  # the library raises bare Exception, and a broken table whatever it comes to
        raise ValueError(f"{file.path}: the tokenizer's tables are broken: {error}") from error


def _read(file: GGUF, pre: str) -> Tokenizer:
    tokens, types = _table(file, "tokens", str), _table(file, "token_type", int)
    vocabulary = {token: id for id, token in enumerate(tokens)}
    if not len(vocabulary) == len(tokens) == len(types):
        raise ValueError(f"{len(tokens)} tokens, {len(vocabulary)} of them different, and {len(types)} types of tokens")
    merges = [tuple(pair.split(" ")) for pair in _table(file, "merges", str)]
    # Llama 3 looks a whole word up before it pairs bytes: some of its words are no result of its merges.
    model = models.BPE(vocabulary, merges, ignore_merges=pre == "llama-bpe")
    inner = tokenizers.Tokenizer(model)
    if pre == "qwen2":
        inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(SPLITS[pre]())
    inner.decoder = decoders.ByteLevel()
    added = [(token, type) for token, type in zip(tokens, types, strict=True) if type in (CONTROL, USER_DEFINED)]
    inner.add_tokens([AddedToken(token, special=type == CONTROL, normalized=False) for token, type in added])
    named = {}
    for role in ROLES:
        if (id := file.get(f"tokenizer.ggml.{role}_token_id")) is not None:
            if id not in range(len(tokens)):
                raise ValueError(f"{role}_token_id is {id} of {len(tokens)} tokens")
            named[role] = tokens[id]
    begins = file.get("tokenizer.ggml.add_bos_token", pre == "llama-bpe")  # what llama.cpp takes where nothing is said
    opening = [vocabulary[named["bos"]]] if begins and "bos" in named else []
    return Tokenizer(inner, file.get("tokenizer.chat_template"), named, opening)


def _table(file: GGUF, name: str, kind: type) -> list[Any]:
    found = file.get(f"tokenizer.ggml.{name}")
    if not isinstance(found, list) or not all(isinstance(entry, kind) for entry in found):
        raise ValueError(f"tokenizer.ggml.{name} is no list of {kind.__name__}")
    return found

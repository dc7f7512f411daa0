"""Small tokenizers of every kind that models come with, made on the spot."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SAID = ["hello world, how are you", "the cat sat on the mat", "a plan: <s> and </s>", "don't  stop", "if x then y"]
CONTROL = ("<s>", "</s>", "<|user|>", "<|end|>", "<plan>")
LETTERS = sorted(set("".join(SAID)) | set("abcdefghijklmnopqrstuvwxyz<>|/.:,?!'0123456789ABCPLAN\n{}\"_"))
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("t", "h"), ("th", "e"), ("a", "t"), ("o", "u")]


def _vocabulary(letters: list[str], space: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges = [*MERGES, (space, "the"), (space, "a"), (space, "hello")]
    pieces = ["<unk>", "<s>", "</s>", *letters, space, *(a + b for a, b in merges)]
    return {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}, merges


def byte_level() -> Tokenizer:
    """As GPT-2's, Llama 3's, Qwen's."""
    vocabulary, merges = _vocabulary(sorted(pre_tokenizers.ByteLevel.alphabet()), "\u0120")
    inner = Tokenizer(models.BPE(vocabulary, merges))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return inner


def sentencepiece(scheme: str | None) -> Tokenizer:
    """As Llama 2's and Mistral's: byte pairs with single bytes to fall back on. ``scheme``: of the space before a text;
    None: put there by a normalizer, as older files do."""
    vocabulary, merges = _vocabulary(LETTERS, "\u2581")
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    inner = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if scheme is None:
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    parts: list[Any] = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    inner.decoder = decoders.Sequence([*parts, *([] if scheme == "never" else [decoders.Strip(" ", 1, 0)])])
    return inner


def unigram(scheme: str) -> Tokenizer:
    """As T5's and XLNet's: "<s>" is among the pieces that the model looks for in a text."""
    vocabulary, _ = _vocabulary(LETTERS, "\u2581")
    inner = Tokenizer(models.Unigram([(piece, -(len(piece) ** 0.5)) for piece in vocabulary], unk_id=0))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    inner.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return inner


def word_level() -> Tokenizer:
    words = dict.fromkeys(["<unk>", *itertools.chain.from_iterable(said.split() for said in SAID), *LETTERS])
    inner = Tokenizer(models.WordLevel({word: id for id, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return inner


def whole_words() -> Tokenizer:
    """As Llama 3's, but with control tokens that are words: a model that looks whole words up would find them."""
    inner = byte_level()
    inner.model = models.BPE(inner.get_vocab(), [], ignore_merges=True)
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    return inner


def with_control(inner: Tokenizer, **flags: bool) -> Tokenizer:
    """With control tokens, and ordinary ones beside the vocabulary after them."""
    inner.add_special_tokens([AddedToken(name, normalized=False, **flags) for name in CONTROL])
    inner.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    ends = [(name, inner.token_to_id(name)) for name in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return inner


KINDS = {
    "byte level": byte_level,
    "sentencepiece, first": lambda: sentencepiece("first"),
    "sentencepiece, always": lambda: sentencepiece("always"),
    "sentencepiece, never": lambda: sentencepiece("never"),
    "sentencepiece, normalizer": lambda: sentencepiece(None),
    "unigram, first": lambda: unigram("first"),
    "unigram, always": lambda: unigram("always"),
    "unigram, never": lambda: unigram("never"),
    "word level": word_level,
    "whole words": whole_words,
}


def write(inner: Tokenizer, folder: Path, **settings: Any) -> Path:
    """A Hugging Face folder's tokenizer."""
    inner.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder

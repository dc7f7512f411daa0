"""Tokenizers in GGUF files of our own making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers

from miniapr.model.gguf import GGUF
from miniapr.model.gguf_text import read_tokenizer
from miniapr.model.tokenizer import Tokenizer

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
TOKENS = [*LETTERS, "he", "lo", "hello", "<|begin|>", "<|end|>", "<|eot|>", "<think>"]
BEGIN, END, EOT = (TOKENS.index(name) for name in ("<|begin|>", "<|end|>", "<|eot|>"))
GIVEN: dict[str, Any] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "llama-bpe",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [1] * (len(LETTERS) + 3) + [3, 3, 3, 4],
    "tokenizer.ggml.merges": ["h e", "l o"],
    "tokenizer.ggml.bos_token_id": BEGIN,
    "tokenizer.ggml.eos_token_id": END,
    "tokenizer.chat_template": "{% for m in messages %}<|begin|>{{ m.content }}<|eot|>{% endfor %}",
}


def read(folder: Path, **change: Any) -> Tokenizer:
    """The tokenizer of a file with some of ``tokenizer.ggml.*`` changed; None: left out."""
    gguf = pytest.importorskip("gguf")
    out = gguf.GGUFWriter(folder / "m.gguf", "llama")
    for key, value in (GIVEN | {f"tokenizer.ggml.{key}": value for key, value in change.items()}).items():
        if isinstance(value, str):
            out.add_string(key, value)
        elif isinstance(value, bool):
            out.add_bool(key, value)
        elif isinstance(value, int):
            out.add_uint32(key, value)
        elif value is not None:
            out.add_array(key, value)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return read_tokenizer(GGUF(folder / "m.gguf"))


def test_llama_3_looks_whole_words_up_and_others_pair_bytes(tmp_path: Path) -> None:
    ours = read(tmp_path)
    assert ours.encode("hello") == [ours.id("hello")]
    assert ours.encode("hellos") == ours.ids(["he", "l", "lo", "s"])
    assert read(tmp_path, pre="qwen2").encode("hello") == ours.ids(["he", "l", "lo"])


def test_every_end_of_a_text_or_a_turn_is_known(tmp_path: Path) -> None:
    """The file names one of two; the other is what its template writes after an answer."""
    assert read(tmp_path).ends == {END, EOT}
    assert read(tmp_path, eom_token_id=BEGIN).ends == {BEGIN, END, EOT}


@pytest.mark.parametrize(
    "change, begins",
    [
        ({}, True),
        ({"pre": "gpt-2"}, False),
        ({"pre": "gpt-2", "add_bos_token": True}, True),
        ({"add_bos_token": False}, False),
    ],
)
def test_what_comes_before_a_text_is_as_the_file_says(change: dict[str, Any], begins: bool, tmp_path: Path) -> None:
    ours = read(tmp_path, **change)
    assert ours.prompt("a") == [BEGIN] * begins + ours.encode("a")


@pytest.mark.parametrize(
    "change, why",
    [
        ({"pre": None}, "tokenizer.ggml.pre is missing"),
        ({"pre": "default"}, "'default'"),
        ({"model": "llama"}, "'llama'"),
        ({"model": None}, "None"),
        ({"tokens": None}, "tokens is no list of str"),
        ({"tokens": [1, 2]}, "tokens is no list of str"),
        ({"tokens": [*TOKENS[:-1], "a"]}, "of them different"),
        ({"token_type": None}, "token_type is no list of int"),
        ({"token_type": [1, 1]}, "and 2 types"),
        ({"merges": None}, "merges is no list of str"),
        ({"merges": ["h e", "he"]}, "broken"),
        ({"merges": ["h q"]}, "broken"),
        ({"eos_token_id": 100_000}, "eos_token_id is 100000 of"),
    ],
)
def test_broken_tables_are_told_and_nothing_is_guessed(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"m\.gguf: .*{why}"):
        read(tmp_path, **change)

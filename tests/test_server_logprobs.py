"""What is told of single tokens: their own bytes, names of which none hides another, where they begin in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, pre_tokenizers

from miniapr.engine.sampling import Token
from miniapr.model.tokenizer import Tokenizer
from miniapr.serve.formats import ChatFormat, CompletionFormat, Format
from miniapr.serve.reading import Line


def by_bytes() -> Tokenizer:
    """One token a byte, as GPT-2 writes them."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Inner(models.BPE(vocab={letter: id for id, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    return Tokenizer(inner)


def with_twins() -> Tokenizer:
    """Every byte, and "A" and "é" once more as characters, as SentencePiece's vocabularies have them."""
    names = [*(f"<0x{byte:02X}>" for byte in range(256)), "A", "é", "<unk>"]
    vocab = {name: id for id, name in enumerate(names)}
    inner = Inner(models.BPE(vocab=vocab, merges=[], byte_fallback=True, unk_token="<unk>"))
    inner.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return Tokenizer(inner)


def told(spelling: Format, tokens: Sequence[Token], cuts: Sequence[int]) -> tuple[Any, Any]:
    """As a whole, and in chunks that are put together."""
    fresh = type(spelling)(spelling.model, spelling.tokenizer, spelling.logprobs, spelling.ids)
    whole = spelling.whole([Line(None, tokens=list(tokens))])["choices"][0]["logprobs"]
    parts: dict[str, list[Any]] = {}
    for start, stop in zip([0, *cuts], [*cuts, len(tokens)], strict=True):
        for name, values in (fresh.chunk(0, "", tokens[start:stop])["choices"][0]["logprobs"] or {}).items():
            parts.setdefault(name, []).extend(values)
    return whole, parts


@pytest.mark.parametrize("tokenizer", [by_bytes(), with_twins()], ids=["byte-level", "byte fallback"])
@pytest.mark.parametrize("kind", [CompletionFormat, ChatFormat])
def test_chunks_put_together_are_the_whole(tokenizer: Tokenizer, kind: type[Format]) -> None:
    @given(st.text(min_size=1, max_size=20), st.data())
    def check(text: str, data: st.DataObject) -> None:
        ids = tokenizer.encode(text)
        tokens = [Token(id, -1.0, ((id, -1.0), (data.draw(st.integers(0, 255)), -2.0))) for id in ids]
        cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=4)))
        whole, parts = told(kind("m", tokenizer, 2, False), tokens, cuts)
        assert parts == whole
        if kind is ChatFormat:
            assert b"".join(bytes(one["bytes"]) for one in whole["content"]).decode() == text
            return
        # A token begins where its character does: as many characters stand before it as are whole there.
        before = [b"".join(map(tokenizer.bytes_of, ids[:i])) for i in range(len(ids))]
        assert whole["text_offset"] == [len(one.decode(errors="ignore")) for one in before]

    check()


def test_of_tokens_that_look_alike_none_is_lost() -> None:
    tokenizer = with_twins()
    alike = ((0x41, -1.0), (256, -2.0), (0xC3, -3.0), (0xA9, -4.0), (257, -5.0))
    tokens = [Token(256, -2.0, alike), Token(0x41, -9.0, alike[1:])]
    found = CompletionFormat("m", tokenizer, 5, False).whole([Line(None, tokens=tokens)])["choices"][0]["logprobs"]
    first, second = found["top_logprobs"]
    assert first == {"A": -1.0, "token_id:256": -2.0, "bytes:\\xc3": -3.0, "bytes:\\xa9": -4.0, "é": -5.0}
    assert second == {"A": -2.0, "bytes:\\xc3": -3.0, "bytes:\\xa9": -4.0, "é": -5.0}
    assert found["tokens"] == ["token_id:256", "token_id:65"]  # each by the name that is nobody else's there
    chat = ChatFormat("m", tokenizer, 5, False).whole([Line(None, tokens=tokens)])["choices"][0]["logprobs"]["content"]
    assert [one["bytes"] for one in chat[0]["top_logprobs"]] == [[0x41], [0x41], [0xC3], [0xA9], [0xC3, 0xA9]]

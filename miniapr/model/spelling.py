"""From token ids back to text: every token has bytes, and a text is what its bytes spell.

The decoders of a tokenizer.json work on whole texts: they take away the first space, and turn a run of bytes that has
one wrong byte in it into question marks altogether. Text that comes token by token cannot be taken back, so here each
token is spelled alone: what is said in pieces is what is said at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

import tokenizers
from tokenizers import models

# Decoders by which a text is the bytes of its tokens, one after the other.
IN_A_ROW = {"Sequence", "ByteLevel", "ByteFallback", "Metaspace", "Replace", "Fuse", "Strip"}


def byte_letters() -> dict[str, int]:
    """The letter by which byte-level vocabularies write each byte: itself where it can be seen, else one from 256 on
    (GPT-2, Radford et al. 2019)."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def kinds(part: Any) -> set[str]:
    """The types of all parts of a decoder."""
    if isinstance(part, list):
        return set().union(*map(kinds, part))
    return {part["type"], *kinds(list(part.values()))} if isinstance(part, dict) and "type" in part else set()


def unstripped(decoder: Any) -> Any:
    """A decoder that takes no space away from where a text begins."""
    if isinstance(decoder, list):
        return [unstripped(part) for part in decoder]
    if not isinstance(decoder, dict):
        return decoder
    changes: dict[str, dict[str, Any]] = {"Metaspace": {"prepend_scheme": "never"}, "Strip": {"start": 0}}
    return {**{key: unstripped(value) for key, value in decoder.items()}, **changes.get(decoder.get("type", ""), {})}


class Spelling:
    """Tokens to bytes and text. Owns what it has spelled before.

    inner     knows the tokens' names
    decoder   of its tokenizer.json
    as_named  ids of tokens that are spelled as they are called, whatever the decoder would make of their names
    """

    def __init__(self, inner: tokenizers.Tokenizer, decoder: Any, as_named: Collection[int]) -> None:
        found, plain = kinds(decoder), unstripped(decoder)
        blank = json.loads(tokenizers.Tokenizer(models.BPE()).to_str())
        self._inner, self._as_named = inner, frozenset(as_named)
        self._decoder = tokenizers.Tokenizer.from_str(json.dumps({**blank, "decoder": plain})).decoder
        self._letters = byte_letters() if "ByteLevel" in found else {}
        self._byte = re.compile(r"<0x([0-9A-Fa-f]{2})>" if "ByteFallback" in found else r"(?!)")
        self._in_a_row = bool(found) and found <= IN_A_ROW
        self._strips = plain != decoder
        self._known: dict[int, bytes] = {}

    def bytes_of(self, id: int) -> bytes:
        """What a token adds to a text: characters, or a part of one. b"" for an id that is no token."""
        if id not in self._known:
            self._known[id] = self._spell(id)
        return self._known[id]

    def _spell(self, id: int) -> bytes:
        token = self._inner.id_to_token(id)
        if token is None:
            return b""
        if id in self._as_named or self._decoder is None:
            return token.encode()
        if found := self._byte.fullmatch(token):
            return bytes([int(found[1], 16)])
        if self._letters and all(letter in self._letters for letter in token):
            return bytes(self._letters[letter] for letter in token)
        return token.encode() if self._letters else self._decoder.decode([token]).encode()

    def text(self, ids: Sequence[int], start: bool = False) -> str:
        """What the tokens spell, as it stands in a text that goes on; ``start``: where a text begins, without the
        space that encoding has put there."""
        if not self._in_a_row:  # words, with spaces between them
            return str(self._inner.decode(list(ids), skip_special_tokens=False))
        text = b"".join(map(self.bytes_of, ids)).decode("utf-8", errors="replace")
        return text[1:] if start and self._strips and text.startswith(" ") else text

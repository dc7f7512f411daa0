"""Text to token ids and back, with a wall between text and control.

Control tokens (plan, thread, join, end) are single special ids. Text never turns into one, whatever it
spells: otherwise a user who writes "<plan>" could make the engine fork (faults F49, M7).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers


class Tokenizer:
    """A ``tokenizer.json``. Control ids enter by ``id``, never by ``encode``."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.encode_special_tokens = True  # special tokens that appear in text are ordinary text
        self._inner = inner

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        file = Path(folder) / "tokenizer.json"
        try:
            return cls(tokenizers.Tokenizer.from_file(str(file)))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{file} is not a tokenizer: {error}") from error

    def __len__(self) -> int:
        return self._inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text. Raises ValueError for text that the vocabulary cannot express."""
        encoding = self._inner.encode(text, add_special_tokens=False)
        unknown = self._inner.token_to_id(getattr(self._inner.model, "unk_token", None) or "")
        for id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
            if id == unknown:
                raise ValueError(f"this model has no token for {text[start:stop]!r}")
        return list(encoding.ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens included by name."""
        return self._inner.decode(list(ids), skip_special_tokens=False)

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens by their exact names, control tokens included: not for what a user wrote."""
        return [self.id(token) for token in tokens]

    def id(self, token: str) -> int:
        """The id of one token by its exact name, control tokens included."""
        found = self._inner.token_to_id(token)
        if found is None:
            raise ValueError(f"this model has no token {token!r}")
        return found

"""Vocabularies of whole words: one token per integer, step, verdict and control word (which ones: ``words.py``).

A word-level vocabulary keeps traces short enough to train on a laptop and readable in a terminal. The
control tokens are *added* tokens outside of the word model, so with ``encode_special_tokens = True`` the text
"<plan>" in a user's prompt is an unknown word: only the model and the engine can produce a control token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

LIMIT = 400  # the largest integer with a token of its own; the id of the integer n is n
HIT, MISS = "hit", "miss"


def word_level(words: Sequence[str], control: Iterable[str]) -> Tokenizer:
    """A word-level tokenizer whose control tokens cannot be written by plain text.

    ``encode_special_tokens`` is a property of the running object and is not stored in ``tokenizer.json``: whoever
    loads one sets it before encoding text from outside.
    """
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in control])
    tokenizer.encode_special_tokens = True
    return tokenizer


class Vocabulary:
    """Words to ids and back, control words included. Owns no state beyond the two tables."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        self.words: dict[int, str] = {i: word for word, i in self.ids.items()}

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, words: Iterable[str]) -> tuple[int, ...]:
        """The ids of ``words``. Raises ValueError for a word that has no token."""
        try:
            return tuple([self.ids[word] for word in words])
        except KeyError as error:
            raise ValueError(f"no token for {error.args[0]!r}; integers go up to {LIMIT}") from None

    def decode(self, ids: Sequence[int]) -> str:
        """The words of ``ids`` with blanks between them, control words included."""
        return " ".join(self.words[i] for i in ids)

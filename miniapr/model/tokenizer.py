"""Text to token ids and back, with a wall between text and control.

Control tokens (plan, thread, join, end) are single special ids. Text never turns into one, whatever it
spells: otherwise a user who writes "<plan>" could make the engine fork (faults F49, M7).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import tokenizers

from . import chat as chats
from .files import read_json


class Tokenizer:
    """A ``tokenizer.json``. Control ids enter by ``id``, or as a chat template places them; never by ``encode``.

    template  Jinja source of the model's chat template; None: the model knows no chat
    named     special tokens by role (bos, eos, eot, ...)
    ends      ids that end a text or a turn
    """

    def __init__(
        self, inner: tokenizers.Tokenizer, template: str | None = None, named: Mapping[str, str] | None = None
    ) -> None:
        inner.encode_special_tokens = True  # special tokens that appear in text are ordinary text
        self._inner, self.template, self.named = inner, template, dict(named or {})
        special = [token.content for token in inner.get_added_tokens_decoder().values() if token.special]
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        known = (inner.token_to_id(self.named[role]) for role in ("eos", "eot") if role in self.named)
        self.ends = frozenset(id for id in known if id is not None)

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """From tokenizer.json, with what tokenizer_config.json and its neighbours say of special tokens and chat."""
        folder = Path(folder)
        file = folder / "tokenizer.json"
        try:
            inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{file} is not a tokenizer: {error}") from error
        inner.no_truncation()
        inner.no_padding()
        settings = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                settings.update(read_json(folder / name))
        named = {}
        for role in ("bos", "eos", "unk"):
            value = settings.get(f"{role}_token")
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str):
                named[role] = value
        tokenizer = cls(inner, chats.template_of(folder, settings), named)
        tokenizer.ends |= _ends(folder)
        return tokenizer

    def __len__(self) -> int:
        return self._inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Ids of ordinary text. Raises ValueError for text that the vocabulary cannot express."""
        try:
            encoding = self._inner.encode(text, add_special_tokens=False)
        except UnicodeEncodeError as error:
            raise ValueError(f"text is not valid Unicode: {error}") from error
        unknown = self._inner.token_to_id(getattr(self._inner.model, "unk_token", None) or "")
        if unknown is not None:
            for id, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True):
                if id == unknown:
                    raise ValueError(f"this model has no token for {text[start:stop]!r}")
        return list(encoding.ids)

    def chat(self, messages: Sequence[Mapping[str, str]], answer: bool = True) -> list[int]:
        """Ids of a conversation [{"role": ..., "content": ...}, ...] as the model's chat template writes it.
        ``answer``: up to where the assistant begins to speak.

        What the template writes may be control tokens; what the messages say never is. Raises ValueError for a model
        without a template, or messages that the template refuses.
        """
        if self.template is None:
            raise ValueError("this model has no chat template")
        mark, walled = chats.wall_off(messages, self._special)
        text = chats.render(self.template, walled, answer, self.named)
        ids, at = [], 0
        for found in self._special.finditer(text):
            ids += [*self.encode(text[at : found.start()].replace(mark, "")), self.id(found[0])]
            at = found.end()
        return [*ids, *self.encode(text[at:].replace(mark, ""))]

    def turn(self, text: str) -> list[int]:
        """Ids that end the assistant's turn, let the user say ``text``, and open the assistant's next turn."""
        said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        before = self.chat(said, answer=False)
        whole = self.chat([*said, {"role": "user", "content": text}])
        last = max((i for i, id in enumerate(before) if id in self.ends), default=len(before))
        if whole[:last] != before[:last]:
            raise ValueError(
                "this model's chat template rewrites earlier turns: a conversation cannot go on by its end"
            )
        return whole[last:]

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


def _ends(folder: Path) -> frozenset[int]:
    """What generation_config.json, or config.json, says ends a text."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            ids = read_json(folder / name).get("eos_token_id")
            if ids is not None:
                return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()

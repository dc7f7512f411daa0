"""Text to token ids and back, with a wall between text and control.

Control tokens (plan, thread, join, end) are single special ids. Text never turns into one, whatever it
spells: otherwise a user who writes "<plan>" could make the engine fork (faults F49, M7).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken

from . import chat as chats
from .encoder import Encoder
from .files import read_json
from .spelling import Spelling, kinds
from .wall import Wall, checked

ENDS = ("eos", "eot", "eom")
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


class Tokenizer:
    """A ``tokenizer.json``. Control ids enter by ``id``, or as a chat template places them; never by ``encode``.

    template  Jinja source of the model's chat template; None: the model knows no chat
    named     special tokens by role (bos, eos, eot, ...)
    control   ids that text never becomes: the special tokens, and those that are named
    ends      ids that end a text or a turn: eos and eot, and what the template writes after an answer
    opening   ids that the file wants before a text (bos); ``prompt`` puts them there
    """

    def __init__(
        self,
        inner: tokenizers.Tokenizer,
        template: str | None = None,
        named: Mapping[str, str] | None = None,
        opening: Sequence[int] | None = None,
    ) -> None:
        self._inner, self.template, self.named = inner, template, dict(named or {})
        added = inner.get_added_tokens_decoder()
        tokens = {token.content: token for token in added.values() if token.special}
        for name in self.named.values():
            if inner.token_to_id(name) is not None:
                tokens.setdefault(name, AddedToken(name))
        control = {name: self.id(name) for name in tokens}
        self.control = frozenset(control.values())
        spec = json.loads(inner.to_str())
        self._encoder, self._wall = Encoder(spec, control), Wall(tokens.values())
        byte_level = "ByteLevel" in kinds(spec["decoder"])
        self._spelling = Spelling(inner, spec["decoder"], self.control.union(added if byte_level else ()))
        self.opening = _before_text(inner) if opening is None else tuple(opening)
        self.ends = frozenset(control[self.named[role]] for role in ENDS if self.named.get(role) in control)
        self.ends |= self._after_answer()

    @classmethod
    def load(cls, folder: str | Path) -> Tokenizer:
        """From tokenizer.json, with what tokenizer_config.json and its neighbours say of special tokens and chat."""
        folder = Path(folder)
        file = folder / "tokenizer.json"
        try:
            inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{file} is not a tokenizer: {error}") from error
        settings = {}
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            if (folder / name).is_file():
                settings.update(read_json(folder / name))
        named = {}
        for role in ROLES:
            value = settings.get(f"{role}_token")
            if isinstance(value, dict):
                value = value.get("content")
            if isinstance(value, str):
                named[role] = value
        tokenizer = cls(inner, chats.template_of(folder, settings), named)
        if settings.get("add_bos_token") is not None:  # overrules tokenizer.json
            begins = settings["add_bos_token"] and "bos" in named
            tokenizer.opening = (tokenizer.id(named["bos"]),) if begins else ()
        tokenizer.ends |= _ends(folder)
        return tokenizer

    def __len__(self) -> int:
        return self._inner.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, start: bool = True) -> list[int]:
        """Ids of ordinary text that begins here, or goes on after a control token (``start=False``: some vocabularies
        write a space before the first word of all). Never a control token.

        Raises ValueError for text that is not Unicode, or that the vocabulary cannot express.
        """
        return self._encoder.encode(text, start)

    def prompt(self, text: str) -> list[int]:
        """Ids of a text for the model to go on with: ``encode``, after what the file wants before a text."""
        return [*self.opening, *self.encode(text)]

    def chat(self, messages: Sequence[Mapping[str, str]], answer: bool = True) -> list[int]:
        """Ids of a conversation [{"role": ..., "content": ...}, ...] as the model's chat template writes it.
        ``answer``: up to where the assistant begins to speak.

        What the template writes may be control tokens; what the messages say never is. Raises ValueError for a model
        without a template, or messages that the template refuses.
        """
        ids: list[int] = []
        for text, control in self._wall.cut(self._render(self._wall.around(messages), answer)):
            ids += self.encode(text, start=not ids) if text else []
            ids += [] if control is None else [self.id(control)]
        return ids

    def _render(self, messages: Sequence[Mapping[str, str]], answer: bool) -> str:
        if self.template is None:
            raise ValueError("this model has no chat template")
        return chats.render(self.template, messages, answer, self.named)

    def _after_answer(self) -> frozenset[int]:
        """The control token that the template writes after what the assistant said: it ends a turn, whether or not the
        file says so (files of Llama 3 that name one end of two)."""
        said = "(what was said)"
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": said}]
        try:
            after = self._render(talk, answer=False).rpartition(said)[2] if self.template else ""
        except ValueError:  # a template for other conversations than this one
            return frozenset()
        return frozenset(self.id(name) for _, name in list(self._wall.cut(after))[:1] if name is not None)

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

    def decode(self, ids: Sequence[int], start: bool = False) -> str:
        """Text of ids, control tokens included by name, as it stands in a text that goes on: pieces put together are
        the whole, but for a character that is cut. ``start``: as a text begins, without the space that some
        vocabularies write before the first word."""
        return self._spelling.text(ids, start)

    def bytes_of(self, id: int) -> bytes:
        """What one token adds to a text, also within a character."""
        return self._spelling.bytes_of(id)

    def ids(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens by their exact names, control tokens included: not for what a user wrote."""
        return [self.id(token) for token in tokens]

    def id(self, token: str) -> int:
        """The id of one token by its exact name, control tokens included."""
        found = self._inner.token_to_id(checked(token))
        if found is None:
            raise ValueError(f"this model has no token {token!r}")
        return found


def _before_text(inner: tokenizers.Tokenizer) -> tuple[int, ...]:
    """What a tokenizer.json puts before every text."""
    try:
        encoding = inner.encode("a", add_special_tokens=True)
    except Exception:  # a vocabulary without this letter
        return ()
    put = itertools.takewhile(lambda at: at[1], zip(encoding.ids, encoding.special_tokens_mask, strict=True))
    return tuple(id for id, _ in put)


def _ends(folder: Path) -> frozenset[int]:
    """What generation_config.json, or config.json, says ends a text."""
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            ids = read_json(folder / name).get("eos_token_id")
            if ids is not None:
                return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()

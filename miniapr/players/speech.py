"""How a chat model is asked in words, and what its words are without the marks of the chat."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from ..model.tokenizer import Tokenizer

Ask = Callable[..., Sequence[int]]


class Speech:
    """Prompts are texts with {question} and {text} in them. ``begun``: what is put in the assistant's mouth, since a
    small model goes on as it was begun, and not always as it was asked.

    ends  tokens that end what the model says in its turn
    """

    def __init__(self, talk: Tokenizer) -> None:
        self._talk, self.ends = talk, talk.ends
        ends = "|".join(re.escape(talk.decode([end])) for end in sorted(talk.ends))
        self._marks = re.compile(rf"(?:{ends})\s*$|<\|[^|]*\|>" if ends else r"<\|[^|]*\|>")

    def says(self, said: str, begun: str = "") -> list[int]:
        """A conversation that begins: the user says it, and the assistant is about to speak."""
        return [*self._talk.chat([{"role": "user", "content": said}]), *self.words(begun)]

    def goes_on(self, said: str, begun: str = "") -> list[int]:
        """The user's next turn, behind what the model has said. It closes the model's turn, which may be closed."""
        return [*self._talk.turn(said), *self.words(begun)]

    def words(self, text: str) -> list[int]:
        return self._talk.encode(text) if text else []

    def asks(self, prompt: str, begun: str = "") -> Ask:
        """A role's ``ask``: about the question, or about a text so far."""

        def ask(question: Any, text: str = "", *more: str) -> Sequence[int]:
            return self.says(prompt.format(question=question, text=self.plain(text) or "(nothing yet)"), begun)

        return ask

    def plain(self, text: str) -> str:
        """Without the marks of the chat."""
        return self._marks.sub("", text).strip()

    def ended(self, text: str) -> bool:
        """Whether the turn has ended in it."""
        return self._marks.search(text) is not None

    def answer(self, question: Any, text: str) -> str | None:
        """A role's ``read``: all that was said; None if that is nothing."""
        return self.plain(text) or None

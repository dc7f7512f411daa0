"""How to speak to a chat model in plain text, for servers whose tokenizer is not at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .vocabulary import TextPieces

# name -> (before the role, between role and text, after the text)
TEMPLATES = {
    "chatml": ("<|im_start|>", "\n", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
}


class TextTalk(TextPieces):
    """Pieces of text, and the turns of a conversation. A server parses the marks of its template in prompts, so here
    a user's text that spells them is not kept apart from them: with a tokenizer of one's own it is."""

    def __init__(self, template: str = "chatml") -> None:
        super().__init__()
        if template not in TEMPLATES:
            raise ValueError(f"no template is called {template!r}; there are {', '.join(TEMPLATES)}")
        self.template = template
        self._before, self._between, self._after = TEMPLATES[template]
        self.ends = frozenset((self.id(self._after),))

    def _message(self, role: str, text: str) -> str:
        return f"{self._before}{role}{self._between}{text}{self._after}\n"

    @property
    def _opening(self) -> str:
        return f"{self._before}assistant{self._between}"

    def chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation, and the opening of the assistant's turn."""
        said = "".join(self._message(message["role"], message["content"]) for message in messages)
        return self.encode(said + self._opening)

    def turn(self, text: str) -> list[int]:
        """The end of the assistant's turn, the user's next one, and the opening of another. The end is a token of its
        own: where the assistant has said it already, it is left out."""
        return [*self.encode(self._after), *self.encode(f"\n{self._message('user', text)}{self._opening}")]

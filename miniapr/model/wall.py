"""The wall in a chat: what a template writes may be control, what was said in the chat never is.

The two are told apart by a mark that no valid text can hold, half of a surrogate pair: it need not be looked for, and
nobody can send it. Putting it in and taking it out costs time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from tokenizers import AddedToken

MARK = "\ud800"
SPACES = re.compile(r"\s*")


def checked(text: str) -> str:
    """The text itself. Raises ValueError for what is not Unicode: half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"half of a surrogate pair (U+{ord(text[error.start]):04X}) at character {error.start}"
        raise ValueError(f"text is not valid Unicode: {half}") from None
    return text


class Wall:
    """Marks what was said in a chat, and finds what a template wrote.

    The mark stands before every place in a message where the name of a control token begins, in upper or lower case,
    and inside a message's first and last letters if the template could make a name of them ("<" + "plan" + ">").
    A control token is a name without a mark in it or before it. So nothing that was said is one, as long as a
    template trims, cuts, repeats or changes the case of what was said, and does not put it together anew.
    """

    def __init__(self, tokens: Collection[AddedToken]) -> None:
        self.tokens = {token.content: token for token in tokens}
        names = sorted(self.tokens, key=len, reverse=True)
        any_of = "|".join(map(re.escape, names)) or r"(?!)"
        self._begins = re.compile(f"(?={any_of})", re.IGNORECASE)
        alone = [rf"(?<!\w){re.escape(n)}(?!{MARK}?\w)" if self.tokens[n].single_word else re.escape(n) for n in names]
        self._written = re.compile(f"(?<!{MARK})(?:{'|'.join(alone) or r'(?!)'})")
        self._names = [name.lower() for name in names]
        self._heads = tuple({name[:cut] for name in self._names for cut in range(1, len(name))})
        self._tails = tuple({name[cut:] for name in self._names for cut in range(1, len(name))})

    def around(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """The messages, marked. Raises ValueError for messages that are not text.

        Roles are marked within only: templates do make names of them ("<|" + role + "|>").
        """
        for message in messages:
            if not all(isinstance(value, str) for value in message.values()):
                raise ValueError(f"a message is {message!r}, expected text by role and content")
        return [
            {key: self._within(value) if key == "role" else self._around(value) for key, value in message.items()}
            for message in messages
        ]

    def _within(self, text: str) -> str:
        return self._begins.sub(MARK, checked(text))

    def _around(self, text: str) -> str:
        said = text.strip()
        if not said:
            return self._within(text)
        before, after = text[: text.index(said)], text[text.index(said) + len(said) :]
        low, marked = said.lower(), self._within(said)
        if low.endswith(self._heads):
            marked = marked[:-1] + MARK + marked[-1]
        if low.startswith(self._tails) or any(low in name for name in self._names):
            marked = MARK + marked
        return self._within(before) + marked + self._within(after)

    def cut(self, rendered: str) -> Iterator[tuple[str, str | None]]:
        """What a template made of marked messages: (text, the control token after it or None at the end), in turn.

        Spaces beside a token belong to it where its flags say so (``lstrip``, ``rstrip``), as in transformers.
        """
        at = 0
        for found in self._written.finditer(rendered):
            token = self.tokens[found[0]]
            text, at = rendered[at : found.start()].replace(MARK, ""), found.end()
            yield text.rstrip() if token.lstrip else text, token.content
            if token.rstrip and (spaces := SPACES.match(rendered, at)):
                at = spaces.end()
        yield rendered[at:].replace(MARK, ""), None

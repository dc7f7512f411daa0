"""Chat templates: Jinja programs that models bring along, run in a sandbox, with user text walled off.

A template sees messages in which every special token's name is broken by a mark (a character that no message uses),
so that what it writes itself can be told from what a user wrote. The mark is taken out again before tokenising.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .files import read_json

PRIVATE = range(0xE000, 0xF8FF)  # characters that mean nothing


def template_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The chat template of a folder: a file of its own, or in tokenizer_config.json."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if found is None and (file := folder / "chat_template.json").is_file():
        found = read_json(file).get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {entry.get("name"): entry.get("template") for entry in found}.get("default")
    return found if isinstance(found, str) else None


def wall_off(messages: Sequence[Mapping[str, str]], special: re.Pattern[str]) -> tuple[str, list[dict[str, str]]]:
    """A mark, and the messages with the mark inside whatever spells a special token.

    Raises ValueError for messages that are not text.
    """
    for message in messages:
        if not all(isinstance(value, str) for value in message.values()):
            raise ValueError(f"a message is {message!r}, expected text by role and content")
    said = "".join(text for message in messages for text in message.values())
    mark = next(char for char in map(chr, PRIVATE) if char not in said)

    def wall(text: str) -> str:
        while found := special.search(text):  # breaking one may leave another that overlapped it
            text = text[: found.start() + 1] + mark + text[found.start() + 1 :]
        return text

    return mark, [{role: wall(text) for role, text in message.items()} for message in messages]


def render(template: str, messages: Sequence[Mapping[str, str]], answer: bool, named: Mapping[str, str]) -> str:
    """The conversation as text, control tokens by name. Raises ValueError for what the template refuses."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _refuse
    tokens = {f"{role}_token": token for role, token in named.items()}
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=answer, **tokens)
    except jinja2.TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)

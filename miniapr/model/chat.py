"""Chat templates: Jinja programs that models bring along, run in a sandbox."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from .files import read_json
from .wall import MARK


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


def render(template: str, messages: Sequence[Mapping[str, str]], answer: bool, named: Mapping[str, str]) -> str:
    """The conversation as text, control tokens by name, with what transformers gives to templates. Raises ValueError
    for what the template refuses or fails on."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    tokens = {f"{role}_token": token for role, token in named.items()}
    given = {"messages": messages, "add_generation_prompt": answer, "tools": None, "documents": None, **tokens}
    try:
        return environment.from_string(template).render(given)
    except jinja2.TemplateError as error:
        raise ValueError(f"the model's chat template refuses these messages: {error}") from error
    except Exception as error:  # a template is a program: it may divide by zero, or count on what is not there
        raise ValueError(f"the model's chat template fails on these messages: {error}") from error


class Generation(Extension):
    """{% generation %} ... {% endgeneration %}: says which part the assistant wrote, for training; here just text."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML. The wall's mark stays what it is: it is no text."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, sort_keys=sort_keys)
    return re.sub(f"[^\x00-\x7f{MARK}]", lambda found: json.dumps(found[0])[1:-1], text) if ensure_ascii else text


def _refuse(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)

"""What a server says, read with distrust: it becomes chunks, or one ServerError."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..plain import plain

SENTENCE = 400  # characters of an error


class ServerError(RuntimeError):
    """What a server answered in place of a completion: one line of plain text, whatever it sent.

    status  of HTTP; 0: nothing that can be used came through; -1: what came will not get better
    wait    seconds after which it wants to be asked again, if it says
    """

    def __init__(self, status: int, message: str, wait: float | None = None) -> None:
        super().__init__(plain(" ".join(message[: 4 * SENTENCE].split()))[:SENTENCE])
        self.status, self.wait = status, wait


@dataclass
class Usage:
    """What one completion cost, as the server counts. ``cached``: prompt tokens that it had computed before."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0


@dataclass
class Chunk:
    """Something new of a completion. ``ids``: its tokens, if the server tells. ``finish``: why it ended, if it did;
    ``reason``: the stop string or token that ended it, if the server tells. ``usage``: of all up to here."""

    text: str = ""
    ids: list[int] | None = None
    finish: str | None = None
    reason: str | int | None = None
    usage: Usage | None = None


def lines(answer: http.client.HTTPResponse, longest: int, most: int) -> Iterator[bytes]:
    """The lines of an answer. Raises ServerError for a line of more than ``longest`` bytes, or more than ``most`` in
    all: what never ends is given up before memory is."""
    left = most
    while line := answer.readline(min(longest, left) + 1):
        left -= len(line)
        if len(line) > longest or left < 0:
            whole = f"a line of more than {longest:,}" if len(line) > longest else f"more than {most:,}"
            raise ServerError(-1, f"the server sent {whole} bytes: no such completion was asked for")
        yield line


def document(answer: http.client.HTTPResponse, most: int) -> Any:
    """JSON. Raises ValueError for what is none, or has more than ``most`` bytes."""
    data = answer.read(most + 1)
    if len(data) > most:
        raise ValueError(f"the server sent more than {most:,} bytes")
    return parsed(data)


def parsed(data: bytes) -> Any:
    """Raises ValueError for what is no JSON, or is nested as no answer is."""
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def chunk(data: bytes) -> Chunk:
    """One event of a stream. Raises ServerError for an error that came in it, and for what is no completion."""
    try:
        said = parsed(data)
        if error := _field(said, "error", object):
            raise ServerError(500, f"the server broke off: {complaint(error)}")
        found = Chunk(usage=_usage(_field(said, "usage", dict)))
        for choice in (_field(said, "choices", list) or ())[:1]:
            found.text, found.finish = _field(choice, "text", str) or "", _field(choice, "finish_reason", str)
            found.ids, found.reason = _ids(_field(choice, "token_ids", list)), _field(choice, "stop_reason", str, int)
        found.text.encode()  # half of a surrogate pair is no text
        return found
    except (ValueError, TypeError) as error:
        raise ServerError(0, f"the server sent what is no completion ({error}): {data[:100]!r}") from error


def _field(said: Any, name: str, *kinds: type) -> Any:
    """None where it is not given. Raises TypeError if it is of none of these kinds (true is no number)."""
    if not isinstance(said, dict):
        raise TypeError(f"{str(said)[:30]!r} is no object")
    value = said.get(name)
    if value is not None and not (isinstance(value, kinds) and (object in kinds or not isinstance(value, bool))):
        raise TypeError(f"{name} is {str(value)[:30]!r}")
    return value


def _ids(found: list[Any] | None) -> list[int] | None:
    for id in found or ():
        if type(id) is not int or id < 0:
            raise TypeError(f"{str(id)[:30]!r} is no token id")
    return found


def _usage(said: dict[str, Any] | None) -> Usage | None:
    if said is None:
        return None
    details = _field(said, "prompt_tokens_details", dict) or {}
    prompt, cached = _count(said, "prompt_tokens"), _count(details, "cached_tokens")
    return Usage(prompt, min(cached, prompt), _count(said, "completion_tokens"))


def _count(said: dict[str, Any], name: str) -> int:
    value: int = _field(said, name, int) or 0
    if value < 0:
        raise ValueError(f"{name} is {value}")
    return value


def checked(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The answer, if it is one. Raises ServerError with what the server says instead."""
    if answer.status == 200:
        return answer
    data = answer.read(20_000)
    try:
        message = complaint(parsed(data))
    except ValueError:
        message = data.decode(errors="replace")
    wait = answer.getheader("retry-after", "")
    seconds = float(wait) if wait.isascii() and wait.isdecimal() else None  # a date, or nonsense: our own pause
    raise ServerError(answer.status, f"the server answered {answer.status}: {message}", seconds)


def complaint(said: Any) -> str:
    """The sentence in an error, whatever its shape."""
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    return said if isinstance(said, str) else json.dumps(said)

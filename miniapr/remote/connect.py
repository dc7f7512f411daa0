"""From an address to an engine that asks it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..model.tokenizer import Tokenizer
from .answers import ServerError
from .client import Call, Server
from .engine import RemoteEngine
from .talk import TextTalk


def connect(
    server: Server,
    tokenizer: Tokenizer | None = None,
    context: int | None = None,
    template: str = "chatml",
    concurrency: int = 16,
) -> RemoteEngine:
    """Ask the server what it has, and how to speak to it: in token ids if a tokenizer is given and the server takes
    and returns ids (vLLM does, SGLang, and ``miniapr serve``), otherwise in text: by the tokenizer's chat template, or
    the one that is named.

    Raises ServerError if it does not answer, ValueError if it does not have the model.
    """
    cards = _cards(server)
    if cards and server.model not in cards:
        raise ValueError(f"{server.url} has no model {server.model!r}; it has {', '.join(sorted(cards))[:200]}")
    told = cards.get(server.model, {}).get("max_model_len")
    context = context or (told if type(told) is int and told > 0 else 1 << 30)
    as_text = tokenizer is None or not speaks_ids(server)
    return RemoteEngine(server, tokenizer or TextTalk(template), context, concurrency, as_text=as_text)


def _cards(server: Server) -> dict[str, dict[str, Any]]:
    """What it says of its models, by name. Raises ServerError where that is no list as OpenAI's interface has it."""
    try:
        said = server.get("/models")
    except ServerError as error:
        if error.status == 404 and not urlsplit(server.url).path.strip("/"):
            root = f"{server.url.rstrip('/')}/v1"
            raise ServerError(404, f"{error}; its interface is usually below /v1: try {root}") from error
        raise
    cards = (said.get("data") or []) if isinstance(said, dict) else None
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        raise ServerError(-1, f"{server.url}/models gives no object with a list of models as `data`: {str(said)[:100]}")
    return {str(card.get("id")): card for card in cards}


def speaks_ids(server: Server) -> bool:
    """Whether it answers token ids with token ids, tried out on a single one."""
    body = {"prompt": [1], "max_tokens": 1, "temperature": 0, "return_token_ids": True}
    try:
        return any(chunk.ids for chunk in server.complete(Call(body)))
    except ServerError as error:
        if error.status in (400, 422):  # it does not know such prompts, or such fields
            return False
        raise

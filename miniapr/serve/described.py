"""What comes back, for /openapi.json: a description that the answers are tested against."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _object(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
ERROR = _object({"error": _object({"message": TEXT, "type": TEXT, "param": _or_null(TEXT), "code": _or_null(TEXT)})})
USAGE = _object(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": _object({"cached_tokens": COUNT}),
    }
)
BRANCH = _object(
    {"branch": COUNT, "parent": _or_null(COUNT), "position": COUNT, "text": TEXT, "tokens": COUNT, "finish": TEXT}
)
PARALLEL = _object(
    {
        "answers": _list(TEXT),
        "branches": _list(BRANCH),
        "events": _list({"type": "object"}),
        "critical_path": COUNT,
        "cost": {"type": "object", "additionalProperties": COUNT},
    }
)
CARD = _object({"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT})


def _choice(**content: Schema) -> Schema:
    finish = {"enum": ["stop", "length"]}
    logprobs = _or_null({"type": "object"})
    return _object({"index": COUNT, **content, "logprobs": logprobs, "finish_reason": finish})


def _answer(kind: str, choice: Schema) -> Schema:
    known = {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT, "choices": _list(choice)}
    return _object({**known, "usage": USAGE}, {"miniapr": PARALLEL, "trace": TEXT})


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _error(meaning: str) -> Schema:
    return {"description": meaning, "content": _json(ERROR)}


GUARDED: dict[int | str, Schema] = {
    401: _error("No valid API key."),
    403: _error("Asked by a name that is not this server's."),
}
ASKED: dict[int | str, Schema] = {
    **GUARDED,
    400: _error("What was asked for cannot be done; the message says why."),
    404: _error("No such model, or no such trace."),
    408: _error("The body did not come in time."),
    413: _error("The body is too long."),
    422: _error("Not used: what is invalid gets 400."),
    429: _error("Too many requests are waiting; try again after Retry-After seconds."),
    503: _error("The server is stopping."),
}


def _generated(answer: Schema) -> dict[int | str, Schema]:
    stream = {"text/event-stream": {"schema": TEXT}}
    return {**ASKED, 200: {"description": "The answer, or a stream of it.", "content": {**_json(answer), **stream}}}


def _plain(schema: Schema, errors: dict[int | str, Schema]) -> dict[int | str, Schema]:
    return {**errors, 200: {"description": "What there is.", "content": _json(schema)}}


MESSAGE = _object({"role": {"const": "assistant"}, "content": TEXT})
COMPLETION = _generated(_answer("text_completion", _choice(text=TEXT)))
CHAT = _generated(_answer("chat.completion", _choice(message=MESSAGE)))
INFORMATION: dict[str, dict[int | str, Schema]] = {
    "models": _plain(_object({"object": {"const": "list"}, "data": _list(CARD)}), GUARDED),
    "model": _plain(CARD, {**GUARDED, 404: ASKED[404], 422: ASKED[422]}),
    "health": _plain(_object({"status": {"const": "ok"}}), {503: {"description": "The engine has stopped."}}),
    "trace": {
        **GUARDED,
        404: ASKED[404],
        422: ASKED[422],
        200: {"description": "The stepper's page of a request that asked for it.", "content": {"text/html": {}}},
    },
    "metrics": {**GUARDED, 200: {"description": "Prometheus' text format.", "content": {"text/plain": {}}}},
}

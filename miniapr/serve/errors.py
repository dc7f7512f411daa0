"""Errors in OpenAI's shape, so that clients show them as they show anyone's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

KIND = "as "  # begins the name of a kind, where a field may be of several: no field's name
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "client_closed",
}


class ApiError(Exception):
    """An answer that is not 200. ``param``: the field at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.headers = status, message, param, code, headers

    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def error_response(error: ApiError) -> Response:
    # ASCII only: a message may quote what a client sent, half a surrogate pair included, and that is no UTF-8.
    return Response(json.dumps(error.body()), error.status, error.headers, "application/json")


def validation_error(details: Sequence[Any]) -> ApiError:
    """The first of the faults that were found in a body, named by its field."""
    first = details[0]
    kind, place = first.get("type"), first.get("loc", ())
    if kind == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first['ctx']['error']} at byte {place[-1]}")
    names = [str(part) for part in place if part != "body" and not str(part).startswith(KIND)]
    where, message = ".".join(names)[:100], str(first.get("msg", "it cannot be read"))[:500]
    if kind == "extra_forbidden":
        message = "this server does not know it, or not with this value"
    return ApiError(400, f"{where}: {message}" if where else message, param=where or None)

"""The routes: what an OpenAI client asks for, and a little more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from .. import __version__
from .described import CHAT, COMPLETION, INFORMATION
from .errors import ApiError, error_response, validation_error
from .formats import ChatFormat, CompletionFormat, Format, Json
from .limits import Gate
from .metrics import read_gauges
from .reading import Piece
from .schema import Asked, ChatBody, CompletionBody
from .service import Service, Visit
from .streaming import ClientGone, EventStream, chunks, unless_gone
from .work import Prompt, methods_of


def create_app(service: Service, key: str | None = None, hosts: frozenset[str] | None = None) -> FastAPI:
    """The application around one engine. ``key``, ``hosts``: see Gate."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.loop.start()
        yield
        await asyncio.to_thread(service.loop.stop)

    # No pages of documentation: those fetch scripts from elsewhere. /openapi.json describes it all.
    app = FastAPI(title="miniapr", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, limits=service.limits, key=key, hosts=hosts, told=service.metrics.answered)
    _add_errors(app)
    _add_information(app, service)

    @app.post("/v1/completions", responses=COMPLETION)
    async def completions(body: CompletionBody, request: Request) -> Response:
        service.check_model(body.model)
        prompts = await asyncio.to_thread(service.completion_prompts, body)
        spelling = CompletionFormat(service.name, service.tokenizer, body.logprobs, body.return_token_ids)
        # A method's tokens are spread over many branches: OpenAI's 16 would end it in its plan.
        given = "max_tokens" in body.model_fields_set or body.miniapr is None
        return await _answer(service, body, request, prompts, spelling, body.max_tokens if given else None)

    @app.post("/v1/chat/completions", responses=CHAT)
    async def chat(body: ChatBody, request: Request) -> Response:
        service.check_model(body.model)
        prompts = await asyncio.to_thread(service.chat_prompts, body)
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        spelling = ChatFormat(service.name, service.tokenizer, logprobs, body.return_token_ids)
        most = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        return await _answer(service, body, request, prompts, spelling, most)

    return app


async def _answer(
    service: Service,
    body: Asked,
    request: Request,
    prompts: list[Prompt],
    spelling: Format,
    max_tokens: int | None,
) -> Response:
    """As a whole or as a stream. Whoever leaves early, for whatever reason, takes the whole tree along."""
    visit = service.begin(body, prompts, max_tokens, spelling.logprobs or 0)
    pieces = visit.reader.pieces()
    try:
        if not body.stream:
            return await unless_gone(request.receive, _whole(visit, pieces, spelling, body))
        # What is wrong from the beginning is an HTTP error, not an event in a stream that begins well.
        first = await unless_gone(request.receive, _next(pieces))
    except BaseException as error:
        visit.leave()
        if isinstance(error, ClientGone):
            return Response(status_code=499)  # which nobody reads
        raise
    usage = bool(body.stream_options and body.stream_options.include_usage)
    poured = chunks(visit.reader, _chain(first, pieces), spelling, body.miniapr is not None, usage)
    return EventStream(poured, visit.leave)


async def _whole(visit: Visit, pieces: AsyncIterator[list[Piece]], spelling: Format, body: Asked) -> Response:
    async for _ in pieces:
        pass
    visit.leave()
    more: Json = {"usage": visit.reader.usage()}
    if body.miniapr:
        more["miniapr"] = visit.reader.summary()
    return _json(spelling.whole(visit.reader.answers(), **more))


async def _next(pieces: AsyncIterator[list[Piece]]) -> list[Piece]:
    async for some in pieces:
        return some
    return []


async def _chain(first: list[Piece], rest: AsyncIterator[list[Piece]]) -> AsyncIterator[list[Piece]]:
    yield first
    async for some in rest:
        yield some


def _json(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/json")


def _add_information(app: FastAPI, service: Service) -> None:
    card = {
        "id": service.name,
        "object": "model",
        "created": service.started,
        "owned_by": "miniapr",
        "max_model_len": service.loop.engine.model.config.max_position_embeddings,
        "miniapr": {"methods": methods_of(service.bundle)},
    }

    @app.get("/v1/models", responses=INFORMATION["models"])
    async def models() -> Response:
        return _json({"object": "list", "data": [card]})

    @app.get("/v1/models/{name}", responses=INFORMATION["model"])
    async def model(name: str) -> Response:
        service.check_model(name)
        return _json(card)

    @app.get("/health", responses=INFORMATION["health"])
    async def health() -> Response:
        alive = service.loop.alive
        return _json({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get("/metrics", responses=INFORMATION["metrics"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        engine = service.loop.engine
        gauges = await asyncio.wrap_future(service.loop.ask(lambda: read_gauges(engine)))
        return PlainTextResponse(service.metrics.text({"open_requests": service.loop.open, **gauges}))


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return error_response(validation_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return error_response(ApiError(error.status_code, str(error.detail), headers=headers))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        return error_response(ApiError(500, "the server made a mistake; its log tells more"))

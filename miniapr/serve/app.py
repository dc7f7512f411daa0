"""The routes: what an OpenAI client asks for, and a little more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from .. import __version__
from .described import CHAT, COMPLETION, INFORMATION
from .errors import ApiError, error_response, validation_error
from .formats import ChatFormat, CompletionFormat, Format, Json
from .limits import Gate
from .loop import Stopping
from .metrics import read_gauges
from .reading import Piece, Reader
from .schema import Asked, ChatBody, CompletionBody
from .service import LONG, Service
from .streaming import ClientGone, EventStream, chunks, unless_gone
from .traces import KEPT
from .work import Prompt, methods_of, prepare

# A trace holds what people wrote: it stays with who asked for it.
PAGE = {"cache-control": "no-store", "x-frame-options": "DENY", "x-content-type-options": "nosniff"}


def create_app(
    service: Service,
    key: str | None = None,
    hosts: frozenset[str] | None = None,
    origins: Sequence[str] = (),
) -> FastAPI:
    """The application around one engine. ``key``, ``hosts``: see Gate. ``origins``: those whose pages may ask."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.loop.start()
        yield
        service.loop.end()
        service.end()
        await asyncio.to_thread(service.loop.join)

    # No pages of documentation: those fetch scripts from elsewhere. /openapi.json describes it all.
    app = FastAPI(title="miniapr", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, limits=service.limits, key=key, hosts=hosts, told=service.metrics.answered)
    if origins:  # outside of the gate: a browser asks first without the key, and must be able to read a refusal
        verbs, told = ("GET", "POST"), ("retry-after",)
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=verbs, allow_headers="*", expose_headers=told
        )
    _add_errors(app)
    _add_information(app, service)

    @app.post("/v1/completions", responses=COMPLETION)
    async def completions(body: CompletionBody, request: Request) -> Response:
        service.check_model(body.model)
        spelling = CompletionFormat(service.name, service.tokenizer, body.logprobs, body.return_token_ids)
        # A method's tokens are spread over many branches: OpenAI's 16 would end it in its plan.
        given = "max_tokens" in body.model_fields_set or body.miniapr is None
        most = body.max_tokens if given else None
        return await _answer(service, body, request, lambda: service.completion_prompts(body), spelling, most)

    @app.post("/v1/chat/completions", responses=CHAT)
    async def chat(body: ChatBody, request: Request) -> Response:
        service.check_model(body.model)
        logprobs = body.top_logprobs if body.logprobs else None
        spelling = ChatFormat(service.name, service.tokenizer, logprobs, body.return_token_ids)
        most = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
        return await _answer(service, body, request, lambda: service.chat_prompts(body), spelling, most)

    return app


async def _answer(
    service: Service,
    body: Asked,
    request: Request,
    read: Callable[[], list[Prompt]],
    spelling: Format,
    max_tokens: int | None,
) -> Response:
    """As a whole or as a stream. Whoever leaves early, for whatever reason, takes the whole tree along."""
    visit = service.enter()
    try:
        size = int(request.headers.get("content-length", LONG))  # a body in chunks may be of any length
        prompts = await unless_gone(request.receive, service.encoded(read, size))
        work = prepare(body, prompts, service.bundle, service.limits, max_tokens, spelling.logprobs or 0)
        reader = visit.begin(work, service.traces.recorder(spelling.id) if body.return_trace else None)
        pieces = reader.pieces()
        if not body.stream:
            answer = await unless_gone(request.receive, _whole(reader, pieces, spelling, body))
            visit.leave()
            return answer
        # What is wrong from the beginning is an HTTP error, not an event in a stream that begins well.
        first = await unless_gone(request.receive, _next(pieces))
    except BaseException as error:
        visit.leave()
        if isinstance(error, ClientGone):
            return Response(status_code=499)  # which nobody reads
        raise
    poured = chunks(reader, _chain(first, pieces), spelling, body)
    return EventStream(poured, reader.ticket.inbox, visit.leave)


async def _whole(reader: Reader, pieces: AsyncIterator[list[Piece]], spelling: Format, body: Asked) -> Response:
    async for _ in pieces:
        pass
    more: Json = {"usage": reader.usage()}
    if body.miniapr:
        more["miniapr"] = reader.summary()
    if body.return_trace:
        more["trace"] = spelling.trace
    return _json(spelling.whole(reader.answers(), **more))


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

    @app.get("/v1/models/{name:path}", responses=INFORMATION["model"])
    async def model(name: str) -> Response:
        service.check_model(name)
        return _json(card)

    @app.get("/health", responses=INFORMATION["health"])
    async def health() -> Response:
        alive = service.loop.alive
        return _json({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    @app.get("/v1/traces/{name}", responses=INFORMATION["trace"], response_class=HTMLResponse)
    async def trace(name: str) -> Response:
        try:
            page = await asyncio.to_thread(service.traces.page, name, service.loop.engine)
        except KeyError as error:
            message = f"no trace {name[:100]!r}: the last {KEPT} requests with return_trace are kept"
            raise ApiError(404, message) from error
        except ValueError as error:
            raise ApiError(404, f"{name[:100]}: {error}") from error
        return HTMLResponse(page, headers=PAGE)

    @app.get("/metrics", responses=INFORMATION["metrics"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        engine = service.loop.engine
        try:
            gauges = await asyncio.wrap_future(service.loop.ask(lambda: read_gauges(engine)))
        except Stopping as error:
            raise ApiError(503, str(error)) from error
        return PlainTextResponse(service.metrics.text({"open_requests": service.visits, **gauges}))


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

"""Server-sent events, and noticing that the client has gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .errors import ApiError
from .formats import ChatFormat, Format, Json
from .inbox import Inbox
from .limits import hang_up
from .reading import Piece, Reader
from .schema import Asked

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T], full: asyncio.Event | None = None) -> T:
    """Do some work while the client is there. Raises ClientGone, with the work cancelled, when it goes away, or when
    its inbox is ``full``: who does not read is gone too."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    worker = asyncio.create_task(work)
    tasks = [worker, asyncio.create_task(gone()), *([asyncio.create_task(full.wait())] if full else [])]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise ClientGone
        return worker.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class EventStream(Response):
    """Sends what a generator gives as it comes; ``leave`` is called at its end, whatever that is."""

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[bytes], inbox: Inbox, leave: Callable[[], None]) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.chunks, self.inbox, self.leave = chunks, inbox, leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def give(message: Message) -> None:
            with self.inbox.giving():
                await send(message)

        async def pour() -> None:
            await give({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for chunk in self.chunks:
                await give({"type": "http.response.body", "body": chunk, "more_body": True})
            await give({"type": "http.response.body", "body": b""})

        try:
            await unless_gone(receive, pour(), self.inbox.overflown)
        except (ClientGone, OSError):
            await hang_up(scope)  # if it is there after all
        finally:
            self.leave()


def frame(data: Json) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def chunks(
    reader: Reader,
    pieces: AsyncIterator[list[Piece]],
    spelling: Format,
    body: Asked,
) -> AsyncIterator[bytes]:
    """An answer's events, those of one step together.

    Tokens of an answer come as OpenAI's chunks do. Tokens of the branches below it come in chunks whose text is
    empty, so that an ordinary client shows nothing, with what they are in the field ``miniapr``.
    """
    tell_branches = body.miniapr is not None
    answers = len(reader.work.prompts) * reader.work.n
    if isinstance(spelling, ChatFormat):
        yield b"".join(frame(spelling.role(choice)) for choice in range(answers))
    try:
        async for some in pieces:
            parts = [_part(reader, piece, spelling, tell_branches) for piece in some]
            yield b"".join(parts)
    except ApiError as error:
        yield frame(error.body()) + b"data: [DONE]\n\n"
        return
    ends = [spelling.chunk(choice, None, line=line) for choice, line in enumerate(reader.answers())]
    if tell_branches and ends:
        ends[-1]["miniapr"] = reader.summary()
    if body.return_trace and ends:
        ends[-1]["trace"] = spelling.trace
    if body.stream_options.include_usage:
        ends.append(spelling.envelope(spelling.chunk_kind, [], usage=reader.usage()))
    yield b"".join(map(frame, ends)) + b"data: [DONE]\n\n"


def _part(reader: Reader, piece: Piece, spelling: Format, tell_branches: bool) -> bytes:
    wanted = piece.text or (piece.tokens and (spelling.ids or spelling.logprobs is not None))
    if piece.choice is not None and wanted:
        chunk = spelling.chunk(piece.choice, piece.text, piece.tokens)
    elif tell_branches and (piece.text or piece.note):
        chunk = spelling.chunk(_answer_above(reader, piece.branch), None)
    else:
        return b""
    if tell_branches:
        told = piece.note or ({} if piece.choice is not None else {"text": piece.text})
        chunk["miniapr"] = {"branch": piece.branch, "parent": reader.lines[piece.branch].parent, **told}
    return frame(chunk)


def _answer_above(reader: Reader, number: int) -> int:
    """To which answer a branch contributes: the one at the root of its tree."""
    while (parent := reader.lines[number].parent) is not None:
        number = parent
    return reader.choice(number)

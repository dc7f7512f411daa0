"""One model behind one engine, and who is waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..engine.engine import Engine
from ..model.bundle import Bundle
from .errors import ApiError
from .inbox import Inbox
from .limits import ServerLimits
from .loop import EngineLoop, Stopping, Ticket
from .metrics import Metrics
from .reading import Reader
from .schema import Asked, ChatBody, CompletionBody
from .traces import Recorder, Traces
from .work import Prompt, Work, opening, speaks

LONG = 1 << 16  # bytes of a body that takes long to read


class Service:
    """Owns the engine's loop. ``visits``: requests that are here.

    asked_as  another name by which the model may be asked for: the words with which it was chosen
    Raises ValueError for an engine that does not record.
    """

    def __init__(
        self, bundle: Bundle, engine: Engine, limits: ServerLimits | None = None, asked_as: str | None = None
    ) -> None:
        if not engine.record:
            raise ValueError("a server reads its engine's events, and this engine records none: give it record=True")
        self.bundle, self.limits = bundle, limits or ServerLimits()
        self.name, self.tokenizer = bundle.name, bundle.tokenizer
        self.names, self.visits = {bundle.name, asked_as}, 0
        self.metrics, self.traces = Metrics(), Traces()
        self.loop = EngineLoop(engine, self.metrics)
        self._long = ThreadPoolExecutor(1, "long texts")
        self.started = int(time.time())

    def check_model(self, name: str) -> None:
        if name not in self.names:
            message = f"no model {name[:100]!r} here: this server has {self.name!r}"
            raise ApiError(404, message, param="model", code="model_not_found")

    async def encoded(self, read: Callable[[], list[Prompt]], size: int) -> list[Prompt]:
        """What ``read`` makes of a body of ``size`` bytes, outside of the event loop's thread: that takes a while.

        Long bodies wait for each other. Side by side they would take all threads and cores, and a short question
        would wait for all of them: 40 s for eight chats of 1 MB.
        """
        lane = self._long if size >= LONG else None
        return await asyncio.get_running_loop().run_in_executor(lane, read)

    def end(self) -> None:
        """What waits to be read is no longer; what is being read goes on to its end."""
        self._long.shutdown(wait=False, cancel_futures=True)

    # Prompts: call these through ``encoded``.

    def completion_prompts(self, body: CompletionBody) -> list[Prompt]:
        several = body.prompts
        if len(several) > self.limits.prompts:
            message = f"prompt: {len(several)} prompts, this server's limit is {self.limits.prompts}"
            raise ApiError(400, message, param="prompt")
        return [self._prompt(one, body) for one in several]

    def _prompt(self, prompt: str | list[int], body: Asked) -> Prompt:
        if isinstance(prompt, list):  # as it is: who gives ids knows the model's own
            return self._checked(Prompt(prompt))
        try:
            begin = opening(self.bundle, body.miniapr is not None)
            return self._checked(Prompt([*begin, *self.tokenizer.encode(prompt)], prompt))
        except ValueError as error:
            raise ApiError(400, str(error), param="prompt") from error

    def _checked(self, prompt: Prompt) -> Prompt:
        """Here, and not in the engine's thread, where looking through half a million ids would hold up everyone."""
        context = self.loop.engine.model.config.max_position_embeddings
        if len(prompt.ids) >= context:
            message = f"a prompt of {len(prompt.ids)} tokens leaves no room in the model's context of {context}"
            raise ApiError(400, message, param="prompt", code="context_length_exceeded")
        return prompt

    def chat_prompts(self, body: ChatBody) -> list[Prompt]:
        """By the model's own template; a model without one gets the messages' texts, one after the other."""
        spoken = [message.spoken for message in body.messages]
        talk: Any = self.tokenizer  # a language model's knows how to speak to it
        if not speaks(self.bundle):
            return [self._prompt("\n".join(turn["content"] for turn in spoken), body)]
        try:
            return [self._checked(Prompt(talk.chat(spoken), spoken[-1]["content"]))]
        except ValueError as error:
            raise ApiError(400, str(error), param="messages") from error

    # Requests

    def enter(self) -> Visit:
        """Before anything is done for a request. Raises ApiError: 429 when too many are here already, 503 when the
        server is stopping."""
        if not self.loop.alive:
            raise ApiError(503, "the server is stopping")
        if self.visits >= self.limits.requests:
            message = f"{self.visits} requests are running or waiting, which is this server's limit"
            raise ApiError(429, message, code="queue_full", headers={"retry-after": "1"})
        return Visit(self)


class Visit:
    """One request's stay, from the door to its end; ``leave`` ends it whatever has become of it. Who has not read all
    of an answer is still here."""

    def __init__(self, service: Service) -> None:
        self._service, self._here = service, True
        self._ticket: Ticket | None = None
        service.visits += 1

    def begin(self, work: Work, recorder: Recorder | None) -> Reader:
        """Queue its work on the engine."""
        inbox = Inbox(self._service.limits.unread)
        self._ticket = Ticket(work.program(), work.limits, inbox, recorder)
        try:
            self._service.loop.submit(self._ticket)
        except Stopping as error:
            raise ApiError(503, str(error)) from error
        return Reader(self._ticket, work, self._service.tokenizer)

    def leave(self) -> None:
        """Cancel what still runs, with the whole tree; harmless when nothing does."""
        if self._here:
            self._here = False
            self._service.visits -= 1
        if self._ticket:
            self._service.loop.cancel(self._ticket)

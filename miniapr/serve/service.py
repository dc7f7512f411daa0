"""One model behind one engine, and who is waiting for it."""

from __future__ import annotations

import time
from typing import Any

from ..engine.engine import Engine
from ..model.bundle import Bundle
from .errors import ApiError
from .limits import ServerLimits
from .loop import EngineLoop, Ticket
from .metrics import Metrics
from .reading import Reader
from .schema import Asked, ChatBody, CompletionBody
from .work import Prompt, Work, opening, prepare, speaks


class Service:
    """Owns the engine's loop."""

    def __init__(self, bundle: Bundle, engine: Engine, limits: ServerLimits | None = None) -> None:
        self.bundle, self.limits = bundle, limits or ServerLimits()
        self.name, self.tokenizer = bundle.name, bundle.tokenizer
        self.metrics = Metrics()
        self.loop = EngineLoop(engine, self.metrics)
        self.started = int(time.time())

    def check_model(self, name: str) -> None:
        if name != self.name:
            message = f"no model {name[:100]!r} here: this server has {self.name!r}"
            raise ApiError(404, message, param="model", code="model_not_found")

    # Prompts. Encoding a long text takes a while: call these outside of the event loop's thread.

    def completion_prompts(self, body: CompletionBody) -> list[Prompt]:
        several = (
            body.prompt if isinstance(body.prompt, list) and not isinstance(body.prompt[0], int) else [body.prompt]
        )
        if len(several) > self.limits.prompts:
            message = f"prompt: {len(several)} prompts, this server's limit is {self.limits.prompts}"
            raise ApiError(400, message, param="prompt")
        return [self._prompt(one, body) for one in several]

    def _prompt(self, prompt: str | list[int], body: Asked) -> Prompt:
        if isinstance(prompt, list):  # as it is: who gives ids knows the model's own
            return self._checked(Prompt(prompt))
        try:
            ids = [*opening(self.bundle, body.miniapr is not None), *self.tokenizer.encode(prompt)]
            return self._checked(Prompt(ids, prompt))
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
        question = body.messages[-1].text
        talk: Any = self.tokenizer  # a language model's knows how to speak to it
        if not speaks(self.bundle):
            return [self._prompt("\n".join(message.text for message in body.messages), body)]
        try:
            ids = talk.chat([{"role": m.role, "content": m.text} for m in body.messages])
            return [self._checked(Prompt(ids, question))]
        except ValueError as error:
            raise ApiError(400, str(error), param="messages") from error

    # Requests

    def begin(self, body: Asked, prompts: list[Prompt], max_tokens: int | None, logprobs: int) -> Visit:
        """Raises ApiError: 400 for what cannot be done, 429 when too many wait already."""
        work = prepare(body, prompts, self.bundle, self.limits, max_tokens, logprobs)
        if self.loop.open >= self.limits.requests:
            message = f"{self.loop.open} requests are running or waiting, which is this server's limit"
            raise ApiError(429, message, code="queue_full", headers={"retry-after": "1"})
        return Visit(self, work)


class Visit:
    """One request's stay on the engine, from the queue to its end; ``leave`` ends it whatever has become of it."""

    def __init__(self, service: Service, work: Work) -> None:
        self._service = service
        self._ticket = Ticket(work.program(), work.limits)
        self.reader = Reader(self._ticket, work, service.tokenizer)
        service.loop.submit(self._ticket)

    def leave(self) -> None:
        """Cancel what still runs, with the whole tree; harmless when nothing does."""
        self._service.loop.cancel(self._ticket)

"""An engine without keys and values: it runs programs by asking a server to complete text.

The tree, the views and the joins are those of the engine; only what computes differs. A branch that decodes is a
completion request whose prompt is the branch's whole history, so a fork is as many requests as it has branches,
and a join is a longer prompt. Whether the server computes a shared beginning once is its own affair (its prefix
cache); this is the client-side orchestration of ThreadWeaver (Lian et al. 2025, section 3).
"""

from __future__ import annotations

import math
import queue
import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import torch

from ..engine.branch import Branch, Goal, Limits
from ..engine.engine import Engine
from ..engine.events import Event, Log
from ..engine.request import Program, Request
from ..engine.sampling import Token
from ..kv.cache import KVCache
from ..kv.pool import BlockPool
from ..kv.span import Piece, Span
from ..model.config import ModelConfig
from ..model.tokenizer import Tokenizer
from .answers import Chunk, ServerError, Usage
from .client import Call, Server
from .joins import TextBranching
from .vocabulary import TextPieces

PATIENCE = 0.2  # seconds that a step waits: then its caller can look whether it is still wanted
LINGER = 5.0  # seconds that a server has to say what a completion cost that is not wanted any more
UNKNOWN = torch.empty(0)  # in the place of logits: a server of text has some, and does not tell


class NoPool(BlockPool):
    """Of no layers and no blocks: whatever is asked of it fits."""

    def __init__(self) -> None:
        super().__init__(1, 1, 0, 0, 0)

    def blocks_for(self, tokens: int) -> int:
        return 0


class NoKeys(KVCache):
    """What holds keys and values where there are none."""

    def __init__(self) -> None:
        super().__init__(NoPool(), reuse_prefixes=False)

    def hold(self, pieces: Iterable[Piece]) -> None:
        pass

    def drop(self, pieces: Iterable[Piece]) -> None:
        pass

    def drop_open(self, span: Span) -> None:
        pass


class RemoteEngine:
    """Runs programs on a server. ``step`` waits for something to arrive and lets the programs advance.

    tokenizer    the model's own: prompts are token ids, and so are answers. None: prompts and answers are text.
    talk         without a tokenizer: the pieces of text that programs speak in
    context      how many tokens the model can see, where that is known
    concurrency  completions under way at the same time
    most         tokens of one completion: a longer text is asked for in several, since servers have limits
    asked        how many completions were asked for
    usages       what the server said that they cost, if it did

    Owns: its requests, its events, a thread for each completion under way. Never does: let one request's error
    end another. Whatever goes wrong in a program, or in what a server sends it, ends the request that met it, after
    as many tries as may help (ServerError), and never comes out of ``step``.
    """

    def __init__(
        self,
        server: Server,
        tokenizer: Tokenizer | None = None,
        context: int = 1 << 30,
        concurrency: int = 16,
        most: int = 4096,
        talk: TextPieces | None = None,
    ) -> None:
        for name, value in (("context", context), ("concurrency", concurrency), ("most", most)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, is {value}")
        self.server, self.as_text = server, tokenizer is None
        self.tokenizer = tokenizer or cast(Tokenizer, talk or TextPieces())
        self.context, self.most = context, most
        self.log, self.kv = Log(), NoKeys()
        self.branching = TextBranching(self.kv, _config(context, len(self.tokenizer)), self.log, _never)
        self.requests: list[Request] = []
        self.asked, self.usages = 0, list[Usage]()
        self._calls: dict[Branch, Call] = {}  # what each decoding branch waits for
        self._open: dict[Call, Request] = {}  # those and others, which are not wanted any more and have not ended yet
        self._arrived: queue.SimpleQueue[tuple[Branch, Call, Chunk | ServerError | None]] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="completion")

    @property
    def events(self) -> list[Event]:
        return self.log.events

    def submit(self, program: Program, limits: Limits | None = None) -> Request:
        request = Request(self.log.number("request"), limits or Limits(), self.tokenizer, program)
        request.held = True
        self.requests.append(request)
        self.log.emit("submitted", request)
        return request

    def run(self, program: Program, limits: Limits | None = None) -> Any:
        """Submit a program and step until it has ended. Returns its value, or raises its error."""
        return self.wait(self.submit(program, limits))

    def wait(self, request: Request, stop: Callable[[], bool] = lambda: False) -> Any:
        while request.state == "running" and not stop():
            self.step()
        if request.state == "finished":
            self._hear_costs(request, stop)
        if request.error:
            raise request.error
        return request.task.value if request.task else None

    def _hear_costs(self, request: Request, stop: Callable[[], bool]) -> None:
        """They come last, if they come: a server that goes on saying nothing is not waited for."""
        end = time.monotonic() + LINGER
        while (calls := [call for call, whose in self._open.items() if whose is request]) and not stop():
            if time.monotonic() > end:
                for call in calls:
                    call.cancel()
            self._take_next(PATIENCE)

    def abort(self, request: Request) -> None:
        """End a request and cut its connections; idempotent."""
        self._end(request, "aborted")

    def close(self) -> None:
        """End everything; idempotent."""
        for request in list(self.requests):
            self.abort(request)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def step(self) -> list[Event]:
        """Advance every program, ask for what they wait for, take what has arrived. Returns what happened."""
        mark = len(self.events)
        for do in (self._advance, self._ask):
            for request in list(self.requests):
                self._attempt(request, do, request)
        if self._calls and len(self.events) == mark:
            self._take_next(PATIENCE)
        for _ in range(self._arrived.qsize()):  # not until none is left: a server may send faster than we read
            self._take_next(0)
        self.log.step += 1
        return self.events[mark:]

    # Programs

    def _attempt(self, request: Request, do: Callable[..., None], *args: Any) -> None:
        """Do something for one request. Its error ends that request, and no other."""
        try:
            do(*args)
        except Exception as error:
            if request.state == "running":
                request.error = error
                self._end(request, "failed")

    def _advance(self, request: Request) -> None:
        assert request.task
        request.task.advance(cast(Engine, self))  # operations ask for a tokenizer and for branching, no more
        if request.task.finished:
            self._end(request, "finished")

    def _end(self, request: Request, state: str) -> None:
        if request.state != "running":
            return
        request.state = state
        try:
            if request.task:
                request.task.close()
        except Exception as error:  # a program that does not let itself be closed
            request.error = request.error or error
        for branch in request.branches:
            if branch in self._calls:
                self._calls.pop(branch).cancel()
            self.branching.close(branch, "released" if state == "finished" else "aborted")
        self.requests.remove(request)
        self.log.emit(state, request, error=str(request.error or ""))

    # Completions

    def _ask(self, request: Request) -> None:
        """A completion for every branch that decodes; all other text counts as computed: the server does that."""
        for branch in list(request.task.needs() if request.task else ()):
            if branch.state != "alive":
                continue
            if branch.goal is None:
                branch.span.written, branch.logits = len(branch.span.tokens), UNKNOWN
            elif branch not in self._calls and not self._stop_if_reached(branch):
                self._call(branch)

    def _call(self, branch: Branch, pause: float = 0.0, failures: int = 0) -> None:
        call = self._calls[branch] = Call(self._body(branch), pause, failures)
        self._open[call] = branch.request
        self.asked += 1
        self._threads.submit(self._fetch, branch, call)

    def _body(self, branch: Branch) -> dict[str, Any]:
        goal, sampling, cost = branch.goal, branch.sampling, branch.request.cost
        assert goal
        left = goal.begun + goal.limit - len(branch.generated), branch.request.limits.tokens - cost.decoded
        body: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": random.Random(f"{sampling.seed}/{branch.path}/{len(branch.generated)}").getrandbits(31),
            "max_tokens": max(1, min(*left, self.context - branch.position, self.most)),
        }
        body |= {"top_k": sampling.top_k} if sampling.top_k else {}
        body |= {"min_p": sampling.min_p} if sampling.min_p else {}
        stops = list(goal.stream.stops) if goal.stream else []
        if self.as_text:
            stops += [self.tokenizer.decode([id]) for id in sorted(goal.tokens)]
            body["prompt"] = self.tokenizer.decode(branch.history)
        else:
            ends = sorted(goal.tokens)
            body |= {"prompt": branch.history, "return_token_ids": True, "ignore_eos": True, "stop_token_ids": ends}
        return body | ({"stop": stops} if stops else {})

    def _fetch(self, branch: Branch, call: Call) -> None:
        """In a thread of its own: everything that comes goes into the queue, None at the end."""
        end: ServerError | None = None
        try:
            for chunk in self.server.complete(call):
                self._arrived.put((branch, call, chunk))
        except ServerError as error:
            end = error
        except Exception as error:  # a thread that dies silently would be waited for forever
            end = ServerError(-1, f"{type(error).__name__}: {error}")
        self._arrived.put((branch, call, end))

    def _take_next(self, seconds: float) -> None:
        with suppress(queue.Empty):
            branch, call, what = self._arrived.get(timeout=seconds)
            take = self._take_chunk if isinstance(what, Chunk) else self._take_end
            self._attempt(branch.request, take, branch, call, what)

    def _take_chunk(self, branch: Branch, call: Call, chunk: Chunk) -> None:
        call.usage = chunk.usage or call.usage
        if self._calls.get(branch) is call:
            self._read(branch, call, chunk)
        elif chunk.text or chunk.ids:  # the server does not know where it should have stopped
            call.cancel()

    def _take_end(self, branch: Branch, call: Call, error: ServerError | None) -> None:
        del self._open[call]
        if call.usage:
            self._account(branch.request, call.usage)
        if self._calls.get(branch) is not call:
            return
        del self._calls[branch]
        if error:
            # Ask once more, for what is still missing: what has come stays.
            self._call(branch, self.server.pause_after(call.failures + 1, error), call.failures + 1)
        else:
            self._ended_by_server(branch, call)

    def _read(self, branch: Branch, call: Call, chunk: Chunk) -> None:
        call.finish, call.reason = chunk.finish or call.finish, chunk.reason or call.reason
        for id in self._tokens(chunk):
            call.came = True
            if branch.goal:  # the rest of a chunk may lie beyond its end
                self._accept(branch, id)

    def _tokens(self, chunk: Chunk) -> list[int]:
        """Raises ServerError for what this vocabulary does not have."""
        if self.as_text:
            return self.tokenizer.encode(chunk.text)
        if chunk.ids is None and chunk.text:
            raise ServerError(-1, f"{self.server.url} does not return token ids: ask it in text")
        ids, size = chunk.ids or [], len(self.tokenizer)
        if max(ids, default=0) >= size:
            raise ServerError(
                -1, f"{self.server.url} sent token {max(ids)}, and the vocabulary has {size}: ask it in text"
            )
        return ids

    def _accept(self, branch: Branch, id: int) -> None:
        """As the engine does with a token that it sampled; so where a text ends is decided by the same rule."""
        branch.span.tokens.append(id)
        branch.generated.append(Token(id, math.nan))
        branch.logits = None
        branch.critical += 1
        branch.request.cost.add(decoded=1)
        text = branch.goal.stream.push(id) if branch.goal and branch.goal.stream else self.tokenizer.decode([id])
        self.log.emit("decoded", branch.request, branch, token=id, text=text, logprob=None)
        if self._stop_if_reached(branch):
            self._calls.pop(branch, None)

    def _stop_if_reached(self, branch: Branch) -> bool:
        reason = branch.reached(self.context)
        if reason:
            self._stop(branch, reason)
        return reason is not None

    def _stop(self, branch: Branch, reason: str) -> None:
        branch.end(reason)
        self.log.emit("stopped", branch.request, branch, reason=reason)

    def _ended_by_server(self, branch: Branch, call: Call) -> None:
        """It saw a stop that it does not show, or came to a limit of its own."""
        if branch.goal is None:
            return
        if call.finish != "stop":
            # Only where less was asked for than was wanted does the next step ask for more.
            if not call.came or call.body["max_tokens"] < self.most:
                self._stop(branch, "length")
            return
        if self.as_text and (end := self._end_token(branch.goal, call.reason)) is not None:
            self._accept(branch, end)
        if branch.goal:
            self._stop(branch, "stop")

    def _end_token(self, goal: Goal, reason: str | int | None) -> int | None:
        """The token that ended a text, which servers of text cut off, and many do not name: if it can only be one of
        those that were to end it, the first of them, else none."""
        names = {self.tokenizer.decode([id]): id for id in sorted(goal.tokens)}
        if isinstance(reason, str) or (goal.stream and goal.stream.stops):
            return names.get(str(reason))
        return next(iter(names.values()), None)

    def _account(self, request: Request, usage: Usage) -> None:
        self.usages.append(usage)
        request.cost.add(prefilled=usage.prompt - usage.cached, reused=usage.cached, steps=1)


def _config(context: int, vocabulary: int) -> ModelConfig:
    """What is known of the model: which tokens there are, and how many it can see."""
    return ModelConfig(vocabulary, 1, 1, 1, 1, 1, 2, max_position_embeddings=context)


def _never(source: Span, target: Span) -> None:
    raise AssertionError("there is nothing to copy")

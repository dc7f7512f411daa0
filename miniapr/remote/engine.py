"""An engine without keys and values: it runs programs by asking a server to complete text.

The tree, the views and the joins are those of the engine; only what computes differs. A branch that decodes is a
completion request whose prompt is the branch's whole history, so a fork is as many requests as it has branches,
and a join is a longer prompt. Whether the server computes a shared beginning once is its own affair (its prefix
cache); this is the client-side orchestration of ThreadWeaver (Lian et al. 2025, section 3).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, cast

from ..engine.branch import Branch, Limits, Tree
from ..engine.events import Event, Log
from ..engine.request import Program, Request
from ..engine.sampling import Token
from ..model.tokenizer import Tokenizer
from .answers import Chunk, ServerError, Usage
from .calls import Calls
from .client import Call, Server
from .joins import TextBranching
from .lacks import ALWAYS, CONTROL, OF_USAGE, UNTOLD
from .no_keys import UNKNOWN, NoKeys, no_copy, text_config
from .speech import Speech
from .vocabulary import TextPieces

PATIENCE = 0.2  # seconds that a step waits: then its caller can look whether it is still wanted
LINGER = 5.0  # seconds that a server has to say what a completion cost that is not wanted any more


class RemoteEngine:
    """Runs programs on a server. ``step`` waits for something to arrive and lets the programs advance.

    tokenizer    the model's own; or pieces of text, where it is not known (None: such without turns)
    as_text      prompts and answers are text: programs speak in ids all the same, but none sees a control token come
    context      how many tokens the model can see, where that is known
    concurrency  completions under way at the same time
    most         tokens of one completion: a longer text is asked for in several, since servers have limits
    usages       what the server said that they cost, if it did

    A request has finished when its program has ended and the server has said what it cost, or nothing for too long.

    Owns: its requests, its events, its calls. Never does: let one request's error end another. Whatever goes wrong in
    a program, or in what a server sends to it, ends the request that met it, after as many tries as may help
    (ServerError), and never comes out of ``step``.
    """

    def __init__(
        self,
        server: Server,
        tokenizer: Tokenizer | TextPieces | None = None,
        context: int = 1 << 30,
        concurrency: int = 16,
        most: int = 4096,
        as_text: bool = False,
    ) -> None:
        for name, value in (("context", context), ("concurrency", concurrency), ("most", most)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, is {value}")
        self.server, self.as_text = server, as_text or not isinstance(tokenizer, Tokenizer)
        self.tokenizer = cast(Tokenizer, tokenizer or TextPieces())
        self.context, self.most = context, most
        self.log, self.kv = Log(), NoKeys()
        config = text_config(context, len(self.tokenizer))
        self.branching = TextBranching(self.kv, config, self.log, no_copy)
        self.requests: list[Request] = []
        self.usages: list[Usage] = []
        self._silent_after: dict[Request, float] = {}  # of those whose program has ended
        self._speech = Speech(self.tokenizer, self.as_text, context, most)
        self._calls = Calls(server, concurrency)

    @property
    def lacks(self) -> frozenset[str]:
        """What programs cannot have of it: see ``lacks.py``."""
        return ALWAYS | ({CONTROL} if self.as_text else frozenset())

    @property
    def untold(self) -> frozenset[str]:
        """Costs that are not known, by their names in ``Costs``; where the server tells no usage, more of them."""
        return UNTOLD | (frozenset() if self.usages else OF_USAGE)

    @property
    def asked(self) -> int:
        """How many completions were asked for."""
        return self._calls.begun

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
        if request.error:
            raise request.error
        return request.task.value if request.task else None

    def abort(self, request: Request) -> None:
        """End a request and cut its connections; idempotent."""
        self._end(request, "aborted")

    def close(self) -> None:
        """End everything; idempotent."""
        for request in list(self.requests):
            self.abort(request)
        self._calls.close()

    def step(self) -> list[Event]:
        """Advance every program, ask for what they wait for, take what has arrived. Returns what happened."""
        mark = len(self.events)
        for do in (self._advance, self._ask):
            for request in list(self.requests):
                self._attempt(request, do, request)
        if self._calls.under_way and len(self.events) == mark:
            self._take_next(PATIENCE)
        for _ in range(self._calls.waiting()):  # not until none is left: a server may send faster than we read
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
        request.task.advance(self)
        if request.task.finished and self._heard_costs(request):
            self._end(request, "finished")

    def _heard_costs(self, request: Request) -> bool:
        """They come last, if they come: a server that goes on saying nothing is cut."""
        end = self._silent_after.setdefault(request, time.monotonic() + LINGER)
        calls = self._calls.open_of(request)
        for call in calls if time.monotonic() > end else ():
            call.cancel()
        return not calls

    def _end(self, request: Request, state: str) -> None:
        if request.state != "running":
            return
        request.state = state
        self.requests.remove(request)
        self._silent_after.pop(request, None)
        for branch in request.branches:
            self._calls.cut(branch)
        try:
            if request.task:
                request.task.close()
        except Exception as error:  # a program that does not let itself be closed
            request.error = request.error or error
        for branch in request.branches:
            self.branching.close(branch, "ended" if state == "finished" else "aborted")
        self.log.emit(state, request, error=str(request.error or ""))

    # Completions

    def _ask(self, request: Request) -> None:
        """A completion for every branch that decodes; all other text counts as computed: the server does that."""
        for branch in list(request.task.needs() if request.task else ()):
            if branch.state != "alive":
                continue
            if branch.goal is None:
                branch.span.written, branch.row = len(branch.span.tokens), UNKNOWN
            elif branch not in self._calls.wanted and not self._stop_if_reached(branch):
                self._calls.begin(branch, self._speech.body(branch))

    def _take_next(self, seconds: float) -> None:
        if arrival := self._calls.take(seconds):
            branch, call, what = arrival
            take = self._take_chunk if isinstance(what, Chunk) else self._take_end
            self._attempt(cast(Request, branch.request), take, branch, call, what)

    def _take_chunk(self, branch: Branch, call: Call, chunk: Chunk) -> None:
        call.usage = chunk.usage or call.usage
        if self._calls.wanted.get(branch) is call:
            self._read(branch, call, chunk)
        elif chunk.text or chunk.ids:  # the server does not know where it should have stopped
            call.cancel()

    def _take_end(self, branch: Branch, call: Call, error: ServerError | None) -> None:
        if call.usage:
            self._account(branch.request, call.usage)
        if self._calls.wanted.get(branch) is not call:
            return
        del self._calls.wanted[branch]
        if error:
            pause = self.server.pause_after(call.failures + 1, error)
            # Once more, for what is still missing: what has come stays.
            self._calls.begin(branch, self._speech.body(branch), pause, call.failures + 1)
        else:
            self._ended_by_server(branch, call)

    def _read(self, branch: Branch, call: Call, chunk: Chunk) -> None:
        call.finish, call.reason = chunk.finish or call.finish, chunk.reason or call.reason
        for id in self._speech.tokens(chunk):
            call.came = True
            # The rest of a chunk may lie beyond its end, or, after what its siblings got, beyond the limit of all.
            if branch.goal and not self._stop_if_reached(branch):
                self._accept(branch, id)

    def _accept(self, branch: Branch, id: int) -> None:
        """As the engine does with a token that it sampled; so where a text ends is decided by the same rule."""
        branch.span.tokens.append(id)
        branch.generated.append(Token(id, math.nan))
        branch.row = None
        branch.critical += 1
        branch.request.cost.add(decoded=1)
        text = branch.goal.stream.push(id) if branch.goal and branch.goal.stream else self.tokenizer.decode([id])
        self.log.emit("decoded", branch.request, branch, token=id, text=text, logprob=None)
        self._stop_if_reached(branch)

    def _stop_if_reached(self, branch: Branch) -> bool:
        reason = branch.reached(self.context)
        if reason:
            self._calls.wanted.pop(branch, None)  # not cut: what it cost is still to come
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
        if (end := self._speech.end_token(branch.goal, call.reason)) is not None:
            self._accept(branch, end)
        if branch.goal:
            self._stop(branch, "stop")

    def _account(self, request: Tree, usage: Usage) -> None:
        self.usages.append(usage)
        request.cost.add(prefilled=usage.prompt - usage.cached, reused=usage.cached, steps=1)

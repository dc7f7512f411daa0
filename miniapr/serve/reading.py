"""From the engine's events to text, branch by branch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ..engine.events import Event
from ..engine.sampling import Token
from ..engine.stopping import TextStream
from ..model.tokenizer import Tokenizer
from .errors import ApiError
from .loop import ENDED, Stopping, Ticket
from .work import Work

JOINED = "\n\n"  # between what an answer says before a fork and after the join


@dataclass
class Piece:
    """Something new of one branch. ``choice``: which answer's text it is part of, if of one's.

    note  what else is to be told, for those who ask for it: a fork, a join
    """

    branch: int
    choice: int | None = None
    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    note: dict[str, Any] | None = None


@dataclass
class Line:
    """All that one branch has written so far."""

    parent: int | None
    stream: TextStream | None = None
    text: str = ""
    ended: int = 0  # where its last stretch of decoding begins in the text: after a join, the conclusion
    tokens: list[Token] = field(default_factory=list)
    finish: str = ""
    stopped_by: str | int | None = None


class Reader:
    """Owns the lines of one request; branches are numbered from 0 in order of birth, whoever else is served.

    Never does: decide where text ends. It follows the same rule (TextStream) as the engine, token by token.
    """

    def __init__(self, ticket: Ticket, work: Work, tokenizer: Tokenizer) -> None:
        self.ticket, self.work, self.tokenizer = ticket, work, tokenizer
        self.lines: list[Line] = []
        self.notes: list[dict[str, Any]] = []
        self.prompt = self.cached = 0  # tokens of the prompts, and how many of them came from the prefix cache
        self._numbers: dict[int, int] = {}

    async def pieces(self) -> AsyncIterator[list[Piece]]:
        """What is new, as the engine steps. Raises ApiError if the request failed."""
        while True:
            events = await self.ticket.inbox.get()
            pieces = [piece for event in events if (piece := self._read(event))]
            if pieces:
                yield pieces
            last = events[-1]
            if last.kind in ENDED and last.branch is None:
                self._raise_if_failed(last)
                return

    def _raise_if_failed(self, end: Event) -> None:
        if end.kind == "finished":
            return
        request = self.ticket.request
        error = request.error if request else None
        if isinstance(error, ValueError):
            raise ApiError(400, str(error))
        if end.kind == "aborted":
            raise ApiError(499, "the request was cancelled")
        if isinstance(error, Stopping):
            raise ApiError(503, str(error))
        raise ApiError(500, "the server made a mistake, and the request ended with it; its log tells more")

    def _number(self, branch: int, parent: int | None = None) -> int:
        if branch not in self._numbers:
            self._numbers[branch] = len(self.lines)
            self.lines.append(Line(parent))
        return self._numbers[branch]

    def _read(self, event: Event) -> Piece | None:
        if event.branch is None:
            return None
        data, number = event.data, self._number(event.branch)
        match event.kind:
            case "decoded":
                alternatives = tuple((id, logprob) for id, logprob, *_ in data.get("alternatives", ()))
                token = Token(data["token"], data["logprob"], alternatives)
                return self._decoded(event.branch, number, token)
            case "stopped":
                return self._stopped(event.branch, number, data["reason"])
            case "started":
                self.prompt += len(data["tokens"])
            case "cached":
                self.cached += data["cached"]
            case "forked":
                children = [self._number(child["branch"], number) for child in data["children"]]
                return self._told(number, {"event": "forked", "position": data["position"], "children": children})
            case "joined":
                names = ("how", "position", "recomputed", "reused", "bytes_moved", "keys_shifted")
                children = [self._number(child) for child in data["children"]]
                return self._told(number, {"event": "joined", "children": children, **{n: data[n] for n in names}})
        return None

    def _told(self, number: int, note: dict[str, Any]) -> Piece:
        self.notes.append({"branch": number, **note})
        return Piece(number, note=note)

    def _decoded(self, branch: int, number: int, token: Token) -> Piece:
        line = self.lines[number]
        line.tokens.append(token)
        if line.stream is None:
            line.stream = TextStream(self.tokenizer.decode, self.work.stops, self.work.keep_stop)
            line.ended = len(line.text)
        text = "" if token.id in self.work.ends else line.stream.push(token.id)
        if text and line.text and line.ended == len(line.text):
            text = JOINED + text  # what the branches wrote stands in between, and is not shown here
        line.text += text
        return Piece(number, self.work.choices.get(branch), text, [token])

    def _stopped(self, branch: int, number: int, reason: str) -> Piece:
        line = self.lines[number]
        text = line.stream.finish() if line.stream else ""
        line.text, line.finish = line.text + text, reason
        line.stopped_by = line.stream.stopped if line.stream else None
        if reason == "stop" and line.stopped_by is None and line.tokens:
            line.stopped_by = line.tokens[-1].id
        line.stream = None  # a text that ends and goes on later begins anew, as in the engine
        return Piece(number, self.work.choices.get(branch), text)

    def choice(self, number: int) -> int:
        """Which answer a root's text is."""
        return next((self.work.choices.get(branch, 0) for branch, n in self._numbers.items() if n == number), 0)

    # When it has ended

    def answers(self) -> list[Line]:
        """The lines of the answers, in order."""
        by_choice = {choice: self._numbers[branch] for branch, choice in self.work.choices.items()}
        return [self.lines[by_choice[choice]] for choice in sorted(by_choice)]

    def usage(self) -> dict[str, Any]:
        request = self.ticket.request
        assert request
        prompt, decoded = self.prompt, request.cost.decoded
        return {
            "prompt_tokens": prompt,
            "completion_tokens": decoded,
            "total_tokens": prompt + decoded,
            "prompt_tokens_details": {"cached_tokens": min(self.cached, prompt)},
        }

    def summary(self) -> dict[str, Any]:
        """What the extension field tells: every branch's own text, the joins, and what it all cost."""
        request = self.ticket.request
        assert request
        branches, cost = [], request.cost
        for branch in sorted(request.branches, key=lambda branch: branch.id):
            if branch.id not in self._numbers:
                continue
            line = self.lines[self._numbers[branch.id]]
            branches.append(
                {
                    "branch": self._numbers[branch.id],
                    "parent": None if branch.parent is None else self._numbers[branch.parent.id],
                    "choice": self.work.choices.get(branch.id),
                    "position": branch.born_at,
                    "text": self.tokenizer.decode(branch.tokens) if branch.parent else line.text,
                    "tokens": len(line.tokens),
                    "finish": line.finish,
                }
            )
        counts = ("decoded", "prefilled", "recomputed", "reused", "bytes_moved", "keys_shifted", "steps")
        return {
            "branches": branches,
            "answers": [line.text[line.ended :].strip() for line in self.answers()],
            "events": self.notes,
            "critical_path": max((branch.critical for branch in request.branches), default=0),
            "cost": {name: getattr(cost, name) for name in counts},
        }

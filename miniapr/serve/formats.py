"""How answers are spelt: OpenAI's two formats, whole and in chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from ..engine.sampling import Token
from ..model.tokenizer import Tokenizer
from .reading import Line

Json = dict[str, Any]
FINISH = {"stop": "stop", "length": "length", "context": "length", "": "stop"}


class Format:
    """Of one request. ``logprobs``: None if they were not asked for. ``ids``: token ids were."""

    prefix, whole_kind, chunk_kind = "", "", ""

    def __init__(self, model: str, tokenizer: Tokenizer, logprobs: int | None, ids: bool) -> None:
        self.model, self.tokenizer, self.logprobs, self.ids = model, tokenizer, logprobs, ids
        self.id, self.created = f"{self.prefix}-{uuid.uuid4().hex}", int(time.time())

    def envelope(self, kind: str, choices: list[Json], **more: Any) -> Json:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }

    def whole(self, lines: Sequence[Line], **more: Any) -> Json:
        return self.envelope(self.whole_kind, [self._whole(i, line) for i, line in enumerate(lines)], **more)

    def chunk(self, choice: int, text: str | None, tokens: Sequence[Token] = (), line: Line | None = None) -> Json:
        """Of one answer; ``line``: it has ended. Without text it tells an ordinary client nothing."""
        body = self._chunk(text, tokens)
        finish = None if line is None else FINISH.get(line.finish, "length")
        ended = {} if line is None else {"stop_reason": line.stopped_by}
        ids = {"token_ids": [token.id for token in tokens]} if self.ids else {}
        return self.envelope(self.chunk_kind, [{"index": choice, **body, "finish_reason": finish, **ended, **ids}])

    def _whole(self, index: int, line: Line) -> Json:
        ids = {"token_ids": [token.id for token in line.tokens]} if self.ids else {}
        finish = FINISH.get(line.finish, "length")
        return {
            "index": index,
            **self._text(line),
            "finish_reason": finish,
            "stop_reason": line.stopped_by,
            **ids,
        }

    def _text(self, line: Line) -> Json:
        raise NotImplementedError

    def _chunk(self, text: str | None, tokens: Sequence[Token]) -> Json:
        raise NotImplementedError

    def _name(self, id: int) -> str:
        return self.tokenizer.decode([id])


class CompletionFormat(Format):
    prefix, whole_kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def _text(self, line: Line) -> Json:
        return {"text": line.text, "logprobs": self._logprobs(line.tokens)}

    def _chunk(self, text: str | None, tokens: Sequence[Token]) -> Json:
        return {"text": text or "", "logprobs": self._logprobs(tokens) if tokens else None}

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if self.logprobs is None:
            return None
        names, offsets, at = [], [], 0
        for token in tokens:
            names.append(self._name(token.id))
            offsets.append(at)
            at += len(names[-1])
        top = [{self._name(id): logprob for id, logprob in token.alternatives} for token in tokens]
        return {
            "tokens": names,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": top,
            "text_offset": offsets,
        }


class ChatFormat(Format):
    prefix, whole_kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _text(self, line: Line) -> Json:
        message = {"role": "assistant", "content": line.text, "refusal": None}
        return {"message": message, "logprobs": self._logprobs(line.tokens)}

    def _chunk(self, text: str | None, tokens: Sequence[Token]) -> Json:
        delta = {"content": text} if text else {}
        return {"delta": delta, "logprobs": self._logprobs(tokens) if tokens else None}

    def role(self, choice: int) -> Json:
        """The first chunk of an answer."""
        delta = {"role": "assistant", "content": ""}
        return self.envelope(self.chunk_kind, [{"index": choice, "delta": delta, "finish_reason": None}])

    def _logprobs(self, tokens: Sequence[Token]) -> Json | None:
        if self.logprobs is None:
            return None
        return {"content": [{**self._one(t.id, t.logprob), "top_logprobs": self._top(t)} for t in tokens]}

    def _top(self, token: Token) -> list[Json]:
        return [self._one(id, logprob) for id, logprob in token.alternatives]

    def _one(self, id: int, logprob: float) -> Json:
        name = self._name(id)
        return {"token": name, "logprob": logprob, "bytes": list(name.encode(errors="replace"))}

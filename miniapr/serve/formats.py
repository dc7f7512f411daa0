"""How answers are spelt: OpenAI's two formats, whole and in chunks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from ..engine.sampling import Token
from ..engine.stopping import TextStream
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
        self._texts: dict[int, TextStream] = {}  # of each answer, as far as its tokens were told

    @property
    def trace(self) -> str:
        """Where the page of a request that asked for one is."""
        return f"/v1/traces/{self.id}"

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
        body = self._chunk(choice, text, tokens)
        finish = None if line is None else FINISH.get(line.finish, "length")
        ended = {} if line is None else {"stop_reason": line.stopped_by}
        ids = {"token_ids": [token.id for token in tokens]} if self.ids else {}
        return self.envelope(self.chunk_kind, [{"index": choice, **body, "finish_reason": finish, **ended, **ids}])

    def _whole(self, index: int, line: Line) -> Json:
        ids = {"token_ids": [token.id for token in line.tokens]} if self.ids else {}
        finish = FINISH.get(line.finish, "length")
        return {
            "index": index,
            **self._text(index, line),
            "finish_reason": finish,
            "stop_reason": line.stopped_by,
            **ids,
        }

    def _text(self, choice: int, line: Line) -> Json:
        raise NotImplementedError

    def _chunk(self, choice: int, text: str | None, tokens: Sequence[Token]) -> Json:
        raise NotImplementedError

    def _offset(self, choice: int, token: Token) -> int:
        """Where in its answer's text a token begins; called for each once, in order. All tokens of one character
        begin where it does."""
        text = self._texts.setdefault(choice, TextStream(self.tokenizer.decode))
        at = len(text.text)
        text.push(token.id)
        return at


class CompletionFormat(Format):
    """Here tokens have only names, so these are made to differ: OpenAI's ``bytes:\\xe2`` for a part of a character, and
    vLLM's ``token_id:7`` for a token that looks like one already named."""

    prefix, whole_kind, chunk_kind = "cmpl", "text_completion", "text_completion"

    def _text(self, choice: int, line: Line) -> Json:
        return {"text": line.text, "logprobs": self._logprobs(choice, line.tokens)}

    def _chunk(self, choice: int, text: str | None, tokens: Sequence[Token]) -> Json:
        return {"text": text or "", "logprobs": self._logprobs(choice, tokens) if tokens else None}

    def _logprobs(self, choice: int, tokens: Sequence[Token]) -> Json | None:
        if self.logprobs is None:
            return None
        names = [self._names([*(id for id, _ in token.alternatives), token.id]) for token in tokens]
        listed = list(zip(tokens, names, strict=True))
        return {
            "tokens": [name[token.id] for token, name in listed],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{name[id]: logprob for id, logprob in token.alternatives} for token, name in listed],
            "text_offset": [self._offset(choice, token) for token in tokens],
        }

    def _names(self, ids: Sequence[int]) -> dict[int, str]:
        names: dict[str, int] = {}
        for id in dict.fromkeys(ids):
            name = _spelt(self.tokenizer.bytes_of(id))
            names[f"token_id:{id}" if name in names else name] = id
        return {id: name for name, id in names.items()}


def _spelt(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class ChatFormat(Format):
    prefix, whole_kind, chunk_kind = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def _text(self, choice: int, line: Line) -> Json:
        message = {"role": "assistant", "content": line.text, "refusal": None}
        return {"message": message, "logprobs": self._logprobs(line.tokens)}

    def _chunk(self, choice: int, text: str | None, tokens: Sequence[Token]) -> Json:
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
        data = self.tokenizer.bytes_of(id)
        return {"token": data.decode(errors="replace"), "logprob": logprob, "bytes": list(data)}

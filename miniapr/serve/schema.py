"""The bodies of requests. What is not listed here is refused by name: an option that is silently ignored is a
wrong answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(max_length=1 << 20)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31, strict=True)]
Ids = Annotated[list[TokenId], Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Parallel(Body):
    """How to think in parallel: the one field that OpenAI's interface does not have.

    method    "adaptive": the model decides when to fork; others as ``GET /v1/models`` lists them
    join      how its branches become one again
    width     branches of one fork
    branch_tokens  decoded in one stretch, at most
    """

    method: Annotated[str, Field(min_length=1, max_length=50)] = "adaptive"
    join: Literal["stitch", "stitch_contiguous", "stitch_copied", "reprefill"] = "stitch"
    width: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    branch_tokens: Annotated[int, Field(ge=1, le=1 << 20, strict=True)] | None = None


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False  # accepted, and nothing is obfuscated


class Asked(Body):
    """What both endpoints understand."""

    model: Annotated[str, Field(max_length=300)]
    n: Annotated[int, Field(ge=1, strict=True)] | None = 1
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64, strict=True)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=16)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    # Beyond OpenAI's: as vLLM and SGLang call them.
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31, strict=True)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    return_token_ids: bool = False
    miniapr: Parallel | None = None
    # Known, and taken only where it changes nothing.
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    # Of no consequence for the answer.
    user: Annotated[str, Field(max_length=1000)] | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: Annotated[str, Field(max_length=100)] | None = None
    safety_identifier: Annotated[str, Field(max_length=1000)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @model_validator(mode="after")
    def _together(self) -> Asked:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options goes with stream: true only")
        if self.miniapr and (self.stop or self.stop_token_ids):
            raise ValueError("a method decides itself where it stops: stop does not go with the field miniapr")
        return self


class CompletionBody(Asked):
    """POST /v1/completions. ``prompt``: text, several texts, token ids, or several lists of them."""

    prompt: Text | Annotated[list[Text], Field(min_length=1)] | Ids | Annotated[list[Ids], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=0, le=1 << 20, strict=True)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None
    echo: Literal[False] | None = False
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None


class ContentPart(Body):
    type: Literal["text"]
    text: Text


class ChatMessage(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[ContentPart], Field(min_length=1)]
    name: Annotated[str, Field(max_length=200)] | None = None

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class ChatBody(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=0, le=1 << 20, strict=True)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=0, le=1 << 20, strict=True)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None

    @model_validator(mode="after")
    def _top_logprobs(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true only")
        return self

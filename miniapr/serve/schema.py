"""The bodies of requests. What is not listed here is refused by name: an option that is silently ignored is a
wrong answer."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, GetJsonSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema

from .errors import KIND

Text = Annotated[str, Field(max_length=1 << 20)]
Name = Annotated[str, Field(max_length=1000)]
TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]
Ids = Annotated[list[TokenId], Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Tokens = Annotated[int, Field(ge=0, le=1 << 20)]
Alternatives = Annotated[int, Field(ge=0, le=20)]
Plain = dict[str, tuple[Any, ...]]


def _kind(value: Any) -> str:
    """What a field of several kinds was meant to be, by what comes first in it; faults are then told of that kind."""
    depth = 0
    while isinstance(value, list) and value and depth < 3:
        value, depth = value[0], depth + 1
    names = {str: "text", int: "integer", dict: "object"}
    return KIND + "list of " * depth + names.get(type(value), "nothing known")


def _one_of(meaning: str) -> Discriminator:
    return Discriminator(_kind, custom_error_type="kind", custom_error_message=f"must be {meaning}")


Prompt = Annotated[
    Annotated[Text, Tag(KIND + "text")]
    | Annotated[list[Text], Tag(KIND + "list of text")]
    | Annotated[Ids, Tag(KIND + "list of integer")]
    | Annotated[list[Ids], Tag(KIND + "list of list of integer")],
    _one_of("text, a list of texts, a list of token ids, or a list of such lists, and not empty"),
]
Stops = Annotated[
    Annotated[Stop, Tag(KIND + "text")] | Annotated[list[Stop], Field(max_length=16), Tag(KIND + "list of text")],
    _one_of("text or a list of texts"),
]


class Body(BaseModel):
    """What all objects in a request have in common.

    A field that is null is a field that was not given: typed clients send all that they know. So is one with a value
    that asks for nothing beyond a plain answer (``plain``: those values by field, whether it is known here or not).
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    plain: ClassVar[Plain] = {}

    @model_validator(mode="before")
    @classmethod
    def _given(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if not cls._asks_nothing(name, value)}

    @classmethod
    def _asks_nothing(cls, name: str, value: Any) -> bool:
        # In JSON 0 is not false, in Python they are equal.
        same = (value == none and isinstance(value, bool) == isinstance(none, bool) for none in cls.plain.get(name, ()))
        return value is None or any(same)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The description says so too, field by field."""
        schema = handler.resolve_ref_schema(handler(core))
        known, required = schema["properties"], schema.get("required", ())
        for name in {**known, **cls.plain}:
            nothing = {"enum": [None, *cls.plain.get(name, ())]}
            if name not in required:
                known[name] = {"anyOf": [known[name], nothing]} if name in known else nothing
        schema["additionalProperties"] = {"type": "null"}
        return schema


class Parallel(Body):
    """How to think in parallel: the one field that OpenAI's interface does not have.

    method    "adaptive": the model decides when to fork; others as ``GET /v1/models`` lists them
    join      how its branches become one again
    width     branches of one fork
    branch_tokens  decoded in one stretch, at most
    """

    method: Annotated[str, Field(min_length=1, max_length=50)] = "adaptive"
    join: Literal["stitch", "stitch_contiguous", "stitch_copied", "reprefill"] = "stitch"
    width: Annotated[int, Field(ge=1, le=1024)] | None = None
    branch_tokens: Annotated[int, Field(ge=1, le=1 << 20)] | None = None


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False  # accepted, and nothing is obfuscated


class Asked(Body):
    """What both endpoints understand."""

    plain: ClassVar[Plain] = {
        # What OpenAI's interface knows besides, and vLLM's.
        "audio": ({},),
        "best_of": (1,),
        "chat_template_kwargs": ({},),
        "frequency_penalty": (0,),
        "function_call": ("none", "auto"),
        "functions": ([],),
        "length_penalty": (1,),
        "logit_bias": ({},),
        "min_tokens": (0,),
        "modalities": (["text"],),
        "parallel_tool_calls": (True, False),
        "presence_penalty": (0,),
        "priority": (0,),
        "reasoning_effort": ("none",),
        "repetition_penalty": (1,),
        "response_format": ({"type": "text"},),
        "skip_special_tokens": (False,),
        "stop": ("", []),
        "suffix": ("",),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "use_beam_search": (False,),
        "verbosity": ("medium",),
    }

    model: Annotated[str, Field(max_length=300)]
    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)] | None = None
    stop: Stops | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    # Beyond OpenAI's: as vLLM and SGLang call them.
    top_k: Annotated[int, Field(ge=-1, lt=1 << 31)] = 0
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] = []
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    return_token_ids: bool = False
    miniapr: Parallel | None = None
    return_trace: bool = False  # keep what happens, and say where the stepper's page of it is
    # Of no consequence for the answer.
    user: Name | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: Name | None = None
    safety_identifier: Name | None = None
    prompt_cache_key: Name | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @model_validator(mode="after")
    def _together(self) -> Asked:
        if self.stream_options.include_usage and not self.stream:
            raise ValueError("stream_options.include_usage goes with stream: true only")
        if self.miniapr and (self.stop or self.stop_token_ids):
            raise ValueError("a method decides itself where it stops: stop does not go with the field miniapr")
        return self


class CompletionBody(Asked):
    """POST /v1/completions. ``prompt``: text, several texts, token ids, or several lists of them."""

    plain: ClassVar[Plain] = Asked.plain | {"echo": (False,), "logprobs": (False,)}

    prompt: Prompt
    max_tokens: Tokens = 16
    logprobs: Alternatives | None = None

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        prompt: Any = self.prompt
        return [prompt] if isinstance(prompt, str) or isinstance(prompt[0], int) else prompt


class ContentPart(Body):
    type: Literal["text"]
    text: Text


Content = Annotated[
    Annotated[Text, Tag(KIND + "text")]
    | Annotated[list[ContentPart], Field(min_length=1), Tag(KIND + "list of object")],
    _one_of("text or a list of parts"),
]


class ChatMessage(Body):
    """One turn. An answer of this server's is one as it came: what a client must not send back is nothing in it."""

    plain: ClassVar[Plain] = {"annotations": ([],), "tool_calls": ([],), "refusal": ("",)}

    role: Literal["system", "developer", "user", "assistant"]
    content: Content | None = None
    name: Name | None = None
    reasoning_content: Text | None = None  # what an assistant thought before it spoke: no part of what was said

    @property
    def spoken(self) -> dict[str, str]:
        """As chat templates know it: "developer" is OpenAI's newer word for "system"."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}

    @model_validator(mode="after")
    def _says_something(self) -> ChatMessage:
        if self.content is None and self.role != "assistant":
            raise ValueError(f"a message of role {self.role!r} needs content")
        return self


class ChatBody(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: bool = False
    top_logprobs: Alternatives = 0

    @model_validator(mode="after")
    def _top_logprobs(self) -> ChatBody:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true only")
        return self

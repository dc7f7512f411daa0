"""From the body of a request to a program for the engine."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..engine.branch import Branch, Limits
from ..engine.operations import All, Decode, Fork, Settle, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..methods.adaptive import adaptive
from ..methods.grammar import Control
from ..model.bundle import Bundle
from .errors import ApiError
from .limits import ServerLimits
from .schema import Asked, Parallel


@dataclass(frozen=True)
class Prompt:
    """Token ids, and the text that was asked, if it came as text."""

    ids: list[int]
    text: str | None = None


@dataclass(frozen=True)
class Setting:
    """What a method is given to think about one prompt."""

    bundle: Bundle
    prompt: Prompt
    options: Parallel
    sampling: Sampling

    @property
    def control(self) -> Control:
        return Control.of(self.bundle.tokenizer, self.bundle.control)


def _adaptive(setting: Setting) -> Program:
    options = setting.options
    return adaptive(setting.prompt.ids, setting.control, options.join, setting.sampling, options.branch_tokens)


def _skeleton(setting: Setting) -> Program:
    from ..methods.skeleton import skeleton

    options = setting.options
    if setting.prompt.text is None:
        raise ApiError(400, "the method 'skeleton' needs a question in text, not token ids", param="prompt")
    more = {name: value for name, value in (("width", options.width), ("max_tokens", options.branch_tokens)) if value}
    return skeleton(setting.prompt.text, setting.bundle.tokenizer, options.join, setting.sampling, **more)


METHODS: dict[str, Callable[[Setting], Program]] = {"adaptive": _adaptive, "skeleton": _skeleton}


def speaks(bundle: Bundle) -> bool:
    """Whether it is a chat model, whose tokenizer has a template for conversations."""
    return getattr(bundle.tokenizer, "template", None) is not None


def methods_of(bundle: Bundle) -> list[str]:
    """Those that the model can follow: by its own control tokens, or by being prompted to."""
    can = {"adaptive": not Control.missing(bundle.control), "skeleton": speaks(bundle)}
    return [name for name in METHODS if can[name]]


@dataclass
class Work:
    """One request, ready to run.

    choices  which branch's text is which of the answers, known once the program has made them
    ends     tokens that end an answer and are no part of its text
    stops    strings that do
    """

    prompts: list[Prompt]
    n: int
    sampling: Sampling
    limits: Limits
    ends: frozenset[int]
    stops: tuple[str, ...] = ()
    keep_stop: bool = False
    max_tokens: int | None = None
    method: Callable[[Prompt], Program] | None = None
    choices: dict[int, int] = field(default_factory=dict)

    def program(self) -> Program:
        yield All([self._answers(prompt, number * self.n) for number, prompt in enumerate(self.prompts)])

    def _answers(self, prompt: Prompt, first: int) -> Program:
        """To one prompt. Several answers are branches of one fork: the prompt is computed once."""
        if self.method:
            yield All([_noting(self.method(prompt), self.choices, first + i) for i in range(self.n)])
            return
        root: Branch = yield Start(prompt.ids, self.sampling)
        branches = [root]
        if self.n > 1:
            yield Settle([root])
            branches = yield Fork(root, self.n)
        self.choices.update((branch.id, first + i) for i, branch in enumerate(branches))
        yield Decode(branches, self.ends, self.stops, self.max_tokens, self.keep_stop)


def _noting(program: Program, choices: dict[int, int], choice: int) -> Program:
    """A method's program as it is; the root that it starts first is noted as the one whose text is the answer."""
    operation, noted = next(program), False
    while True:
        try:
            value = yield operation
        except Exception as error:
            step = lambda error=error: program.throw(error)  # noqa: E731
        else:
            if not noted and isinstance(operation, Start):
                choices[value.id], noted = choice, True
            step = lambda value=value: program.send(value)  # noqa: E731
        try:
            operation = step()
        except StopIteration as end:
            return end.value


def prepare(
    body: Asked,
    prompts: list[Prompt],
    bundle: Bundle,
    limits: ServerLimits,
    max_tokens: int | None,
    logprobs: int,
) -> Work:
    """Raises ApiError for what exceeds the limits, naming the field, and for a method that the model cannot follow."""
    n = body.n
    _at_most(n, limits.n, "n")
    answers = len(prompts) * n
    options, width = body.miniapr, limits.width
    if options and options.width is not None:
        _at_most(options.width, limits.width, "miniapr.width")
        width = options.width
    tokens, traced = (min(limits.tokens, limits.traced), ", traced") if body.return_trace else (limits.tokens, "")
    if max_tokens is not None:
        _at_most(answers * max_tokens, tokens, "max_tokens", f"for {answers} answers together{traced}, ")
        tokens = answers * max_tokens
    ends = frozenset[int]() if body.ignore_eos else _ends(bundle)
    sampling = _sampling(body, logprobs)
    return Work(
        prompts,
        n,
        sampling,
        Limits(tokens, max(width, n)),
        ends | frozenset(body.stop_token_ids),
        body.stops,
        body.include_stop_str_in_output,
        max_tokens,
        _method(bundle, options, sampling) if options else None,
    )


def _ends(bundle: Bundle) -> frozenset[int]:
    """What ends a text of this model."""
    eos = bundle.control.get("eos")
    return frozenset(() if eos is None else (bundle.tokenizer.id(eos),)) | getattr(
        bundle.tokenizer, "ends", frozenset()
    )


def _at_most(value: int, limit: int, field: str, where: str = "") -> None:
    if value > limit:
        raise ApiError(400, f"{field}: {where}{value} are asked for, this server's limit is {limit}", param=field)


def _sampling(body: Asked, logprobs: int) -> Sampling:
    seed = secrets.randbits(32) if body.seed is None else body.seed
    return Sampling(body.temperature, max(0, body.top_k), body.top_p, body.min_p, seed, logprobs)


def _method(bundle: Bundle, options: Parallel, sampling: Sampling) -> Callable[[Prompt], Program]:
    known = methods_of(bundle)
    if options.method not in known:
        can = f"it can do {', '.join(known)}" if known else "it has neither control tokens nor a chat template"
        message = f"model {bundle.name} cannot do the method {options.method!r}: {can}"
        raise ApiError(400, message, param="miniapr.method")
    return lambda prompt: METHODS[options.method](Setting(bundle, prompt, options, sampling))


def opening(bundle: Bundle, parallel: bool) -> Sequence[int]:
    """Control tokens with which this model's prompts begin: its own, or what its file wants before a text. Only the
    server can write them: text never does."""
    roles: Sequence[str] = ("bos", "adaptive" if parallel else "sequential")
    own = bundle.tokenizer.ids(bundle.control[role] for role in roles if role in bundle.control)
    return own or bundle.tokenizer.opening

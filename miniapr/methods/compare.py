"""The same branches joined in every way from one state, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..engine.branch import Branch
from ..engine.engine import Engine
from ..engine.operations import All, Decode, Join, Release, Settle, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from .adaptive import fork_plan, think, think_thread
from .grammar import Control
from .moves import append

JOINS = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")


@dataclass(frozen=True)
class Thread:
    """A branch as it ended: the seed that the engine forced, and what the model wrote after it."""

    id: int
    position: int
    seed: str
    text: str
    tokens: int
    finish: str


@dataclass
class Joined:
    """One join. Tokens are those of the whole view that the joined branch attends to.

    position           RoPE index of the first token after the join (the join token)
    tokens_recomputed  whose KV existed and was computed again
    tokens_reused      whose KV was taken over as it is
    bytes_moved        inside the pool
    keys_shifted       turned in place
    seconds            from the join to the distribution of the next token
    text               the conclusion, after the join token
    tokens             decoded for it, one after the other
    kl_to_reprefill    KL(re-prefill || this), nats: mean over the tokens of re-prefill's conclusion; None: not measured
    top1_agrees        at how many of these the likeliest token is the same, as a share
    """

    position: int
    tokens_recomputed: int
    tokens_reused: int
    bytes_moved: int
    keys_shifted: int
    seconds: float
    text: str
    tokens: int
    kl_to_reprefill: float | None = None
    top1_agrees: float | None = None


@dataclass
class Comparison:
    """What happened, filled in as it happens, so that an interrupted comparison still shows its part.

    before         what the model wrote up to the fork, or to the end if it did not fork
    fork_position  RoPE index at which every thread begins; None: no fork
    left_out       joins that could not be made, and why
    critical_path  tokens decoded one after the other: plan, longest thread, conclusion of the first join
    total_tokens   decoded in all, with the conclusion of the first join only
    """

    before: str = ""
    fork_position: int | None = None
    threads: list[Thread] = field(default_factory=list)
    joins: dict[str, Joined] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    critical_path: int = 0
    total_tokens: int = 0


class Method(Protocol):
    """A way of thinking that forks: how it begins, and what is done before, in and after the branches."""

    @property
    def prompt(self) -> Sequence[int]: ...

    @property
    def then(self) -> Sequence[int]:
        """What a joined branch goes on with."""
        ...

    def plan(self, root: Branch) -> Program:
        """Think up to the fork. Gives the branches; none if it came to an end without a fork."""
        ...

    def think(self, thread: Branch) -> Program: ...

    def conclude(self, joined: Branch, how: str) -> Program:
        """Think to the end; ``how`` to join if it forks again."""
        ...


@dataclass(frozen=True)
class ByControl:
    """``adaptive`` as a Method: the model decides, by control tokens."""

    prompt: Sequence[int]
    control: Control
    how: str = "stitch"
    max_tokens: int | None = None

    @property
    def then(self) -> Sequence[int]:
        return (self.control.join,)

    def plan(self, root: Branch) -> Program:
        (done,) = yield Decode([root], until=self.control.ends, max_tokens=self.max_tokens)
        planned = done.finish == "stop" and root.tokens[-1] == self.control.plan_end
        branches: list[Branch] = (yield from fork_plan(root, self.control)) if planned else []
        if planned and not branches and (yield from append(root, self.control.join)):  # a plan that cannot be followed
            yield from think(root, self.control, self.how, self.max_tokens)
        return branches

    def think(self, thread: Branch) -> Program:
        yield from think_thread(thread, self.control, self.how, self.max_tokens)

    def conclude(self, joined: Branch, how: str) -> Program:
        yield from think(joined, self.control, how, self.max_tokens)


def compare(
    engine: Engine,
    result: Comparison,
    method: Method,
    joins: Sequence[str] = JOINS,
    sampling: Sampling | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Program:
    """A program that fills ``result``. The model plans and the branches think once; then every join starts
    from the same parent and the same branches, which none of them changes. Gives the tokens of each conclusion."""
    root = yield Start(method.prompt, sampling or Sampling())
    try:
        branches: list[Branch] = yield from method.plan(root)
        if not branches:  # easy enough to answer at once, or a plan that cannot be followed
            return {}
        result.fork_position = root.position
        seeds = [engine.tokenizer.decode(branch.tokens) for branch in branches]
    finally:  # also when it is interrupted
        result.before, result.critical_path, result.total_tokens = root.text, root.critical, root.request.cost.decoded
    try:
        yield All([method.think(branch) for branch in branches])
    finally:
        result.threads = [_thread(branch, seed) for branch, seed in zip(branches, seeds, strict=True)]
        longest, decoded = max(branch.critical for branch in branches), root.request.cost.decoded
        result.critical_path, result.total_tokens = longest, decoded
    yield Settle(branches)  # the last tokens' KV: after this every join starts from the same state
    concluded: dict[str, list[int]] = {}
    for how in joins:
        try:
            concluded[how], result.joins[how] = yield from _conclude(root, branches, method, how, clock)
        except ValueError as error:  # no room in the context, or keys that cannot be moved
            result.left_out[how] = str(error)
    for first in list(result.joins.values())[:1]:
        result.critical_path, result.total_tokens = longest + first.tokens, decoded + first.tokens
    return concluded


def _conclude(
    root: Branch, branches: Sequence[Branch], method: Method, how: str, clock: Callable[[], float]
) -> Program:
    """Join in one way beside the root, and think to the end. Gives the conclusion's tokens, and the Joined."""
    begun = clock()
    joined: Branch = yield Join(root, branches, how, then=method.then, keep=True)
    yield Settle([joined])
    seconds = clock() - begun
    assert joined.join_cost is not None
    mark, position, cost, before = len(joined.history), joined.joined_at, joined.join_cost, joined.critical
    yield from method.conclude(joined, how)  # which may fork and join again
    concluded = joined.history[mark:]
    found = Joined(
        position=position,
        tokens_recomputed=cost["recomputed"],
        tokens_reused=cost["reused"],
        bytes_moved=cost["bytes_moved"],
        keys_shifted=cost["keys_shifted"],
        seconds=seconds,
        text=root.request.tokenizer.decode(concluded),
        tokens=joined.critical - before,
    )
    yield Release([joined])
    return concluded, found


def _thread(branch: Branch, seed: str) -> Thread:
    text = branch.text.removeprefix(seed).strip()
    finish = branch.completion.finish if branch.completion else "aborted"
    return Thread(branch.id, branch.born_at, seed, text, len(branch.generated), finish)

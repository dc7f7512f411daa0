"""Adaptive parallel reasoning: the model decides when to fork and how wide.

The format is that of Multiverse (Yang et al. 2025) and ThreadWeaver (Lian et al. 2025): plan, threads,
conclusion. Which of the two it is depends on the join alone: ``stitch`` or ``reprefill``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..engine.branch import Branch
from ..engine.operations import All, Decode, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from .grammar import Control, read_plan
from .moves import append, fork, join


def adaptive(
    prompt: Sequence[int],
    control: Control,
    how: str = "stitch",
    sampling: Sampling | None = None,
    max_tokens: int | None = None,
) -> Program:
    """Think about a prompt to the end. Gives the root branch; ``max_tokens`` is for each stretch of decoding."""
    root = yield Start(prompt, sampling or Sampling())
    yield from think(root, control, how, max_tokens)
    return root


def think(branch: Branch, control: Control, how: str, max_tokens: int | None = None) -> Program:
    """Decode; where the model has written a plan, think in every branch at once and join; and so on.

    A plan that leaves nothing to fork into (malformed, too deep, no room in the context) goes straight to
    its conclusion. Where the context has no room for what the threads wrote, the branch ends with its plan.
    """
    while True:
        (done,) = yield Decode([branch], until=control.ends, max_tokens=max_tokens)
        if done.finish != "stop" or branch.span.tokens[-1] != control.plan_end:
            return
        threads = yield from fork_plan(branch, control)
        if threads:
            yield All([think_thread(thread, control, how, max_tokens) for thread in threads])
            if not (yield from join(branch, threads, how, (control.join,))):
                return
        elif not (yield from append(branch, control.join)):
            return


def fork_plan(branch: Branch, control: Control) -> Program:
    """Fork into the items of the plan just written. Gives the threads, none if the plan cannot be followed."""
    plan = read_plan(branch.tokens, control, branch.request.limits.width)
    if not plan.items:
        return []
    return (yield from fork(branch, [(control.thread, *item) for item in plan.items]))


def think_thread(branch: Branch, control: Control, how: str, max_tokens: int | None = None) -> Program:
    """Think in one branch of a fork. A thread cut short by a limit is closed, so that what is joined is well formed."""
    yield from think(branch, control, how, max_tokens)
    if branch.state == "alive" and branch.tokens[-1] != control.thread_end:
        yield from append(branch, control.thread_end)  # if not even that fits, it is joined as it is

"""What an operation is about to do, in a sentence or two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..engine.branch import Branch
from ..engine.operations import All, Decode, Extend, Fork, Join, Release, Settle, Start, token_ids
from ..engine.request import Operation

if TYPE_CHECKING:
    from ..engine.engine import Engine

JOINING = {
    "stitch": "Its view becomes the parent's followed by every branch's pieces, where they are: positions overlap, "
    "and the next one comes after the longest branch. No key is touched.",
    "stitch_contiguous": "The same pieces, seen as if they stood one after the other: each carries a shift by which "
    "the query is turned when it looks at it. No key is touched.",
    "stitch_copied": "The same positions for real: the blocks of every moved piece are copied, and the keys in the "
    "copies are turned.",
    "reprefill": "The branches' text becomes ordinary text after the prefix. What the first branch wrote is that "
    "already; the keys and values of all others are computed again, now that they see one another.",
}


def explain(operation: Operation, engine: Engine) -> tuple[str, str]:
    """A title, and what will happen."""
    if isinstance(operation, Start):
        prompt = operation.prompt
        text = prompt if isinstance(prompt, str) else engine.tokenizer.decode(token_ids(engine.tokenizer, prompt))
        return "Start", f"A root branch begins with a prompt: {text}. Nothing is computed until somebody needs it."
    if isinstance(operation, Decode):
        return f"Decode {_names(operation.branches)}", _decode(operation, engine)
    if isinstance(operation, Fork):
        return _fork(operation)
    if isinstance(operation, All):
        return (
            f"All: {len(operation.programs)} programs at the same time",
            "Each branch thinks on its own. One forward pass a step computes a token for all of them together; "
            "keys that they share are read once. A branch that has ended waits for the others.",
        )
    if isinstance(operation, Settle):
        return (
            f"Settle {_names(operation.branches)}",
            "The tokens that are not in the pool yet get their keys and values, and the model's word on what comes "
            "next: at least the last token, because one is only computed after it was chosen.",
        )
    if isinstance(operation, Extend):
        return f"Extend {_names([operation.branch])}", "Given tokens are appended; they are computed when needed."
    if isinstance(operation, Join):
        return _join(operation)
    if isinstance(operation, Release):
        return (
            f"Release {_names(operation.branches)}",
            "It is let go: the count of each block that it held goes down by one, and at zero a block is free.",
        )
    return type(operation).__name__, ""


def _names(branches: Iterable[Branch]) -> str:
    ids = [str(branch.id) for branch in branches]
    return f"branch{'es' if len(ids) != 1 else ''} {', '.join(ids)}"


def _decode(operation: Decode, engine: Engine) -> str:
    ends = sorted(engine.tokenizer.decode([t]) if isinstance(t, int) else t for t in operation.until)
    until = f"until the model writes {' or '.join(ends)}" if ends else "until a limit is reached"
    if any(branch.joined_at >= 0 for branch in operation.branches):
        return f"The model has all that its branches wrote before it, and concludes: one token a step, {until}."
    return f"One token a step, {until}. Which of them it is decides whether there will be branches."


def _fork(operation: Fork) -> tuple[str, str]:
    parent, seeds = operation.branch, operation.seeds
    count = len(seeds) if isinstance(seeds, Sequence) else seeds
    return (
        f"Fork branch {parent.id} into {count}",
        f"Each child begins at position {parent.position} with a token that opens a thread and its item of the plan. "
        "All of them get the parent's view, which is a short tuple: no key or value is copied or computed.",
    )


def _join(operation: Join) -> tuple[str, str]:
    how = operation.how if isinstance(operation.how, str) else operation.how.__name__
    keep = " Parent and branches stay, so that they can be joined again another way." if operation.keep else ""
    count = len(operation.branches)
    return f"Join {count} branches: {how}", JOINING.get(how, "") + keep

"""Control by the model: single special tokens for plan, thread, end and join, and the small grammar over them.

    ... <plan> item <item> item </plan>      the model decides to fork, how wide, and into what
    <thread> item ... </thread>              a branch: the engine forces the seed, the model the rest
    <join> ...                               the engine forces it after the join; the model concludes

Tokens are compared as whole ids (M7), and reading a plan never fails: whatever the model wrote has a
defined meaning (F49, M4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields

from ..model.tokenizer import Tokenizer


@dataclass(frozen=True)
class Control:
    """Ids of a model's control tokens. ``item`` stands between the items of a plan; None: each token of it is one.
    ``child`` begins the prompt of a child in a context of its own; None: the model knows no such role."""

    plan: int
    plan_end: int
    thread: int
    thread_end: int
    join: int
    eos: int
    item: int | None = None
    child: int | None = None

    @classmethod
    def of(cls, tokenizer: Tokenizer, names: Mapping[str, str]) -> Control:
        """From the names that the model's description gives. Raises ValueError for one that is missing."""
        if missing := cls.missing(names):
            raise ValueError(f"the model's description names no control token for {', '.join(missing)}")
        known = [field.name for field in fields(cls)]
        return cls(**{name: tokenizer.id(names[name]) for name in known if name in names})

    @classmethod
    def missing(cls, names: Mapping[str, str]) -> list[str]:
        """What has to be named for a model to fork by itself, and is not."""
        return [field.name for field in fields(cls) if field.name not in names and field.default is MISSING]

    @property
    def ends(self) -> frozenset[int]:
        """What ends a stretch of decoding."""
        return frozenset((self.plan_end, self.thread_end, self.eos))


@dataclass(frozen=True)
class Plan:
    """``items`` to fork into, and what was ignored, in words."""

    items: tuple[tuple[int, ...], ...]
    ignored: tuple[str, ...] = ()


def read_plan(tokens: Sequence[int], control: Control, width: int) -> Plan:
    """The plan that ``tokens`` end with; no items if it is none.

    Of two openings the last counts. Ignored are: empty items, repeated ones (ThreadWeaver does the same),
    items with a control token inside, and those beyond ``width``.
    """
    if not tokens or tokens[-1] != control.plan_end or control.plan not in tokens:
        return Plan((), ("no plan was opened",))
    begin = len(tokens) - 1 - list(reversed(tokens)).index(control.plan)
    written: list[list[int]] = [[]]
    for token in tokens[begin + 1 : -1]:
        if token == control.item:
            written.append([])
        else:
            written[-1].append(token)
    if control.item is None:
        written = [[token] for token in written[0]]
    special = {control.plan, control.plan_end, control.thread, control.thread_end, control.join, control.eos}
    items: dict[tuple[int, ...], None] = {}
    ignored = []
    for number, item in enumerate(map(tuple, written), start=1):
        if not item:
            ignored.append(f"item {number} is empty")
        elif item in items:
            ignored.append(f"item {number} repeats another")
        elif special & set(item):
            ignored.append(f"item {number} holds a control token")
        elif len(items) == width:
            ignored.append(f"item {number} is beyond the width of {width}")
        else:
            items[item] = None
    return Plan(tuple(items), tuple(ignored))

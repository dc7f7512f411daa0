"""A branch: an open span, the view before it, and everything that is its own alone; and the tree it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..kv.cache import KVCache
from ..kv.span import Piece, Span, View
from ..model.tokenizer import Tokenizer
from .cost import Cost, Limits
from .sampling import Row, Sampling, Token
from .stopping import TextStream

__all__ = ["Branch", "Completion", "Cost", "Goal", "Limits", "Tree", "let_go"]


@dataclass(frozen=True)
class Completion:
    """What one Decode gave one branch. ``finish``: "stop", "length", "context" or "aborted"."""

    tokens: tuple[Token, ...]
    text: str
    finish: str


@dataclass(slots=True)
class Goal:
    """What a decoding branch is waiting for: the first of these ends it."""

    tokens: frozenset[int]
    limit: int  # of new tokens
    begun: int  # how many tokens the branch had generated before
    stream: TextStream | None = None  # if strings end it too


class Tree:
    """The branches of one thought. Their KV is held, given up and restored as a whole, in one of three conditions:

        held        every branch holds its view and its open span
        restoring   ``kept`` holds what is there of all that they need, the rest is being computed
        neither     it waits, or was preempted, and holds nothing

    branches  all there ever were, in order of birth
    living    those that are alive, in the same order
    left      those that have ended while others of their weave go on, and see what they wrote
    state     "running", then "finished", "failed" or "aborted"
    largest_context  tokens that one computed token attended to at most, itself included: no cost, as it never adds up
    """

    def __init__(self, id: int, limits: Limits, tokenizer: Tokenizer) -> None:
        self.id, self.limits, self.tokenizer = id, limits, tokenizer
        self.branches: list[Branch] = []
        self.living: dict[Branch, None] = {}
        self.left: dict[Branch, None] = {}
        self.held = False
        self.kept: dict[Span, int] | None = None  # span -> how many of its first tokens are held
        self.growing: list[Span] = []  # spans that got blocks in this step to be restored, not yet written
        self.cost = Cost()
        self.largest_context = 0
        self.state = "running"

    @property
    def alive(self) -> list[Branch]:
        return list(self.living)

    @property
    def resident(self) -> bool:
        return self.held or self.kept is not None

    @property
    def holders(self) -> list[Branch]:
        """Whose views and open spans the tree stands on."""
        return [*self.living, *self.left]

    def add(self, branch: Branch) -> None:
        self.branches.append(branch)
        self.living[branch] = None

    def leave(self, branch: Branch) -> list[Branch]:
        """It is alive no more. Returns the branches of which nothing is needed any more: not itself while others of its
        weave live, for they go on seeing all that it wrote."""
        self.living.pop(branch, None)
        woven = [other for other in self.holders if branch.woven_with(other)]
        if any(other in self.living for other in woven):
            self.left[branch] = None
            return []
        for other in woven:
            del self.left[other]
        return [*woven, branch]


class Branch:
    """Where a thought continues.

    Owns: its open span (no one else writes there), its random numbers, its place in the tree.
    Never does: touch a sibling. What siblings share is sealed and read only.

    view         the pieces that it attends to before its open span
    span         open; its last token's KV is not in the pool until a step has computed it (F63)
    row          where the logits after the span's last token lie; None while there are tokens to compute
    path         the branch's number among its siblings, from the root down; its random numbers follow from it
    drawn        how many of those it has used
    completion   what the last Decode gave
    depth        how many forks lie above it
    first        how many tokens of its history it was given: its own text begins there. 0 in a child that was given
                 nothing: a context of its own
    born_at      the position at which that text begins
    """

    def __init__(
        self,
        request: Tree,
        id: int,
        view: View,
        span: Span,
        sampling: Sampling,
        parent: Branch | None = None,
        path: tuple[int, ...] = (),
    ) -> None:
        self.request, self.id, self.parent, self.sampling = request, id, parent, sampling
        self.view, self.span = view, span
        self.children: list[Branch] = []
        self.forks = 0  # how often it forked: a second fork's children differ from the first's
        self.path = path
        self.depth: int = parent.depth + 1 if parent else 0
        self.row: Row | None = None
        self.goal: Goal | None = None
        self.completion: Completion | None = None
        self.key: int | None = None  # of its random numbers, made when the first is wanted
        self.drawn = 0
        self.state = "alive"  # then "joined", "released", "ended" (with all others) or "aborted"
        self.generated: list[Token] = []
        self.sampled_at: int | None = None  # index in the span of a sampled token that is still to be computed
        self.born_at = span.position
        self.joined_at = -1  # the position at which its last join let it go on
        self.join_cost: dict[str, int] | None = None  # what that join cost
        self.critical = 0  # tokens decoded one after the other to get here
        self.first = len(view)

    def __repr__(self) -> str:
        return f"Branch({self.id}, {self.state}, position={self.position}, tokens={len(self.history)})"

    @property
    def logits(self) -> Tensor | None:
        """[vocab_size], after the span's last token; None while there are tokens to compute."""
        return self.row[0][self.row[1]] if self.row else None

    @logits.setter
    def logits(self, value: Tensor | None) -> None:
        self.row = None if value is None else (value[None], 0)

    @property
    def position(self) -> int:
        """Of the next token."""
        return self.span.end

    @property
    def history(self) -> list[int]:
        """All tokens that it stands on, its own included, in the order of its view."""
        return [*self.view.tokens, *self.span.tokens]

    @property
    def tokens(self) -> list[int]:
        """Its own tokens: those after its fork (of a root: after its prompt)."""
        own = [token for piece in self.view.after(self.first) for token in piece.tokens]
        return [*own, *self.span.tokens[max(0, self.first - len(self.view)) :]]

    @property
    def text(self) -> str:
        """Its own tokens as text. (What a Decode gave, cut at a stop string, is in ``completion``.)"""
        return self.request.tokenizer.decode(self.tokens)

    @property
    def own(self) -> tuple[Piece, ...]:
        """The pieces that it wrote since its parent's fork: what a join adds to the parent's view."""
        return (self.view + (self.span.whole(),)).after(self.first if self.parent else 0)

    def woven_with(self, other: Branch) -> bool:
        """Whether the two see each other's tokens as they are written."""
        return self.span.weave is not None and self.span.weave is other.span.weave

    @property
    def seen(self) -> tuple[View, int]:
        """All that its next token would see, what is written beside it included, and that token's position."""
        if self.span.weave:
            return self.span.weave.frozen(self.span)
        return self.view + (self.span.whole(),), self.position

    @property
    def ready(self) -> bool:
        """All that it stands on is computed and held."""
        return self.request.held and not self.span.behind

    @property
    def decoding(self) -> bool:
        return self.goal is not None

    def reached(self, context: int) -> str | None:
        """Why decoding ends here, if it does."""
        goal = self.goal
        assert goal is not None
        new = len(self.generated) - goal.begun
        if new and (self.generated[-1].id in goal.tokens or (goal.stream and goal.stream.stopped is not None)):
            return "stop"
        if new >= goal.limit or self.request.cost.decoded >= self.request.limits.tokens:
            return "length"
        weave, span = self.span.weave, self.span
        # In a weave whose members stand one behind the other, its tokens are further on than where they were written.
        # Not by the others' last tokens: whether they are there already is a matter of who is asked first.
        ahead = weave.ahead(span, len(span.tokens) - 1) if weave and span.tokens else 0
        return "context" if self.position + ahead >= context else None

    def end(self, reason: str) -> None:
        """Decoding is over; idempotent."""
        if (goal := self.goal) is None:
            return
        self.goal = None  # first, so that whatever fails below is not tried again
        tokens = tuple(self.generated[goal.begun :])
        if goal.stream:
            goal.stream.finish()
        text = goal.stream.text if goal.stream else self.request.tokenizer.decode([t.id for t in tokens])
        self.completion = Completion(tokens, text, reason)

    def require(self, doing: str) -> None:
        """Raises ValueError if the branch cannot be used any more."""
        if self.state != "alive":
            raise ValueError(f"branch {self.id} was {self.state}: it cannot {doing}")
        if self.children:
            names = ", ".join(str(child.id) for child in self.children)
            raise ValueError(f"branch {self.id} has forked: join or release its branches {names} before it can {doing}")


def let_go(kv: KVCache, branch: Branch) -> None:
    """Drop what a branch holds, if its tree holds anything."""
    if branch.request.held:
        kv.drop_open(branch.span)
        kv.drop(branch.view)

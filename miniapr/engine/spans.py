"""What branches write into: spans begun, added to, sealed and woven. No model is run here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kv.cache import KVCache
from ..kv.span import Span, View
from ..kv.weave import Weave
from ..model.config import ModelConfig
from .branch import Branch, Tree
from .cost import NoRoom
from .events import Log
from .sampling import Sampling


class Spans:
    """Gives branches their spans. Each change happens as a whole or not at all."""

    def __init__(self, kv: KVCache, config: ModelConfig, log: Log) -> None:
        self.kv, self.config, self.log = kv, config, log

    def start(self, request: Tree, tokens: Sequence[int], sampling: Sampling) -> Branch:
        """A root with these tokens to compute. Raises ValueError if they are none or too many."""
        if not tokens:
            raise ValueError("the prompt is empty: a branch needs at least one token to go on from")
        self._check_tokens(tokens, 0)
        path = (len(request.branches),)
        branch = Branch(request, self.log.number("branch"), View(), self.span(0, View(), tokens), sampling, path=path)
        branch.first = len(tokens)
        request.add(branch)
        self._told("started", branch)
        return branch

    def extend(self, branch: Branch, tokens: Sequence[int]) -> None:
        if tokens:
            self._check_tokens(tokens, branch.position)
            self.catch_up(branch)
            branch.span.tokens.extend(tokens)
            branch.row = None
            self.log.emit("extended", branch.request, branch, tokens=list(tokens))

    def _check_tokens(self, tokens: Sequence[int], position: int) -> None:
        config, pool = self.config, self.kv.pool
        for token in tokens:
            if not 0 <= token < config.vocab_size:
                raise ValueError(f"token {token} is not in the vocabulary of {config.vocab_size}")
        if position + len(tokens) > config.max_position_embeddings:
            raise NoRoom(
                f"{len(tokens)} tokens from position {position} on exceed the context of "
                f"{config.max_position_embeddings}"
            )
        if pool.blocks_for(len(tokens)) > len(pool):
            raise NoRoom(
                f"{len(tokens)} tokens need {pool.blocks_for(len(tokens))} blocks of {pool.block_size}, "
                f"the pool has {len(pool)}"
            )

    def seal(self, branch: Branch) -> None:
        """Nothing more is written to the span; what the branch held as its open span it now holds as a piece.
        Tokens that are not computed yet move on to the new one. Spans of a weave are sealed together, at one index, and
        the new ones are a weave again: that is not to be seen in anything that is computed."""
        weave = branch.span.weave
        if weave is None:
            self._seal(branch)
        if weave is None or not weave.index:
            return
        branches = self._members(branch)
        for one in branches:
            self._seal(one)
        Weave([one.span for one in branches], weave.common, weave.positions, weave.end)
        self._tell_woven(branches)

    def weave(self, branches: Sequence[Branch], positions: str, slot: int) -> None:
        """Branches just forked: from now on each sees what the others write. In spans of their own, of one view."""
        view, common = View(branches[0].view), len(branches[0].view)
        if positions in ("contiguous", "private") and self.config.learned_positions:
            raise ValueError(f"{self.config.model_type} has learned positions: keys cannot be seen as moved")
        for number, branch in enumerate(branches):
            self._check_tokens(branch.span.tokens, branch.position - len(branch.span.tokens) + number * slot)
        for number, branch in enumerate(branches):
            old, branch.view = branch.span, view
            branch.span = self.span(old.position + number * slot, view, old.tokens, old.voice)
            branch.born_at = branch.span.position
        Weave([branch.span for branch in branches], common, positions, branches[0].born_at)
        self._tell_woven(branches)

    def _members(self, branch: Branch) -> list[Branch]:
        of = {other.span: other for other in branch.request.holders}
        return [of[span] for span in branch.span.weave.spans] if branch.span.weave else [branch]

    def share(self, branch: Branch) -> None:
        """What a member has written moves behind what all see first. Nothing is computed: it is seen elsewhere."""
        self.seal(branch)
        weave, branches = branch.span.weave, self._members(branch)
        assert weave is not None
        moved = weave.shared(branch.span)
        if not moved:
            return
        end = weave.end + sum(map(len, moved))
        for one in branches:
            own = () if one is branch else one.view.after(weave.common)
            view = one.view.head(weave.common) + moved + own
            self.kv.hold(view)
            self.kv.drop(one.view)
            begin = end if one is branch else one.span.position
            again, one.view = one.span.again, view
            one.span = self.span(begin, view, one.span.tokens, one.span.voice)
            one.span.again = again
        Weave([one.span for one in branches], weave.common + sum(map(len, moved)), weave.positions, end)
        self._tell_woven(branches)

    def catch_up(self, branch: Branch) -> None:
        """Before something is added to it: one that others of its weave have overtaken goes on where they are."""
        if (weave := branch.span.weave) and len(branch.span.tokens) < weave.index:
            self.seal(branch)

    def _seal(self, branch: Branch) -> None:
        # In a weave all is sealed that was ever computed, there or not: where an index ends is nobody's state.
        span = branch.span
        done = span.peak if span.weave else span.written
        if done < span.peak:  # others may know the rest, and stand on it
            raise RuntimeError(f"{span} is sealed while {span.peak - done} of its tokens are being computed again")
        rest, again = span.tokens[done:], span.again
        del span.tokens[done:]
        span.again = min(again, done)
        branch.view = branch.view + (span.whole(),)
        branch.span = self.span(span.end, branch.view, rest, span.voice)
        branch.span.again = again - span.again
        if branch.sampled_at is not None:
            branch.sampled_at -= done
        self.kv.remember(branch.view)
        self._told("sealed", branch)

    def _tell_woven(self, branches: Sequence[Branch]) -> None:
        weave = branches[0].span.weave
        if self.log.on and weave:
            told = [{"branch": branch.id, **written(branch)} for branch in branches]
            common, positions = weave.common, weave.positions
            self.log.emit("woven", branches[0].request, members=told, common=common, positions=positions)

    def span(self, position: int, view: View, tokens: Sequence[int] = (), voice: int = 0) -> Span:
        return Span(position, view, tokens, self.log.number("span"), voice=voice)

    def _told(self, kind: str, branch: Branch, **more: Any) -> None:
        """An event in which a branch begins a span."""
        self.log.emit(kind, branch.request, branch, **more, **(written(branch) if self.log.on else {}))


def written(branch: Branch) -> dict[str, Any]:
    """What an event says of a branch that begins a span: its view, and where and with which tokens it goes on."""
    view = [[piece.span.id, piece.start, piece.stop, piece.shift] for piece in branch.view]
    span = branch.span
    voice = {"voice": span.voice} if span.voice else {}
    return {"span": span.id, "position": span.position, "tokens": span.tokens[:], "view": view, **voice}

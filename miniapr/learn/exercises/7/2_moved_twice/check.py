"""Whatever was joined before: positions as in the joined text, and the logits that belong to them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.learn import small

texts = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=3)


def branches_of(engine: Any, parent: Any, texts: list[str]) -> list[Any]:
    children = engine.fork(parent, [engine.tokenizer.encode(text) for text in texts])
    return [engine.settle(child) for child in children]


def positions(view: Any) -> list[int]:
    return [position for piece in view for position in range(piece.position, piece.end)]


def check(work: Any) -> None:
    @settings(max_examples=20)
    @given(texts)
    def once(texts: list[str]) -> None:
        """After one join the positions are 0, 1, 2, ... as in the joined text."""
        engine = small.engine(reuse_prefixes=False)
        parent = engine.start("xyz")
        merge = work.contiguous(parent, branches_of(engine, parent, texts))
        found = positions(merge.view)
        assert found == list(range(merge.position)), f"they are {found}, then {merge.position}"

    @settings(max_examples=20)
    @given(texts, texts)
    def twice(outer: list[str], inner: list[str]) -> None:
        """After a join of branches of which the last one had joined, too, the positions are 0, 1, 2, ..."""
        engine = small.engine(reuse_prefixes=False)
        parent = engine.start("xyz")
        branches = branches_of(engine, parent, outer)
        engine.join(branches[-1], branches_of(engine, branches[-1], inner), work.contiguous, then=[25])
        engine.settle(branches[-1])
        merge = work.contiguous(parent, branches)
        found = positions(merge.view)
        assert found == list(range(merge.position)), f"they are {found}, then {merge.position}"

    @settings(max_examples=20)
    @given(texts, texts)
    def same_logits(outer: list[str], inner: list[str]) -> None:
        """The logits after both joins are those of the engine's own stitch_contiguous."""
        logits: list[Any] = []
        for how in (work.contiguous, "stitch_contiguous"):
            engine = small.engine(reuse_prefixes=False)
            parent = engine.start("xyz")
            branches = branches_of(engine, parent, outer)
            engine.join(branches[-1], branches_of(engine, branches[-1], inner), how, then=[25])
            engine.settle(branches[-1])
            logits.append(engine.settle(engine.join(parent, branches, how, then=[25])).logits)
        distance = float((logits[0] - logits[1]).abs().max())
        assert distance < 1e-8, f"they differ by up to {distance:.3g}"

    once()
    twice()
    same_logits()

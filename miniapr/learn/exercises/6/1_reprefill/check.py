"""The engine with a random model is the judge: the logits after the join are those of plain text."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.learn import small

texts = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=3)


def grown(texts: list[str], more: int) -> tuple[Any, Any, list[Any]]:
    """A parent and branches with these texts, which decode ``more`` tokens. Their last token has no KV yet."""
    engine = small.engine(reuse_prefixes=False)
    parent = engine.start("xyz")
    branches = engine.fork(parent, [engine.tokenizer.encode(text) for text in texts])
    if more:
        engine.decode(branches, max_tokens=more)
    return engine, parent, branches


def check(work: Any) -> None:
    @settings(max_examples=25)
    @given(texts, st.integers(0, 3))
    def same_text(texts: list[str], more: int) -> None:
        """The joined branch stands on the parent's text, then on all that each branch wrote."""
        engine, parent, branches = grown(texts, more)
        true = [*parent.history, *(token for branch in branches for token in branch.tokens)]
        joined = engine.join(parent, branches, work.reprefill, then=[25])
        found, wanted = engine.tokenizer.decode(joined.history), engine.tokenizer.decode([*true, 25])
        assert found == wanted, f"the text is {found!r}, not {wanted!r}"

    @settings(max_examples=25)
    @given(texts, st.integers(0, 3))
    def same_logits(texts: list[str], more: int) -> None:
        """The logits after the join are those after the same text, computed without any cache."""
        engine, parent, branches = grown(texts, more)
        joined = engine.settle(engine.join(parent, branches, work.reprefill, then=[25]))
        distance = float((joined.logits - small.causal(joined.history)).abs().max())
        assert distance < 1e-8, f"the logits differ by up to {distance:.3g}"
        assert joined.position == len(joined.history), f"position {joined.position} after {len(joined.history)} tokens"

    @settings(max_examples=25)
    @given(texts, st.integers(1, 3))
    def no_more_than_needed(texts: list[str], more: int) -> None:
        """What the first branch has computed is reused; the price is what the others had computed."""
        engine, parent, branches = grown(texts, more)
        reused = len(parent.view) + branches[0].span.written
        again = sum(branch.span.written for branch in branches[1:])
        cost = engine.join(parent, branches, work.reprefill, then=[25]).join_cost
        assert cost["reused"] == reused, f"{cost['reused']} tokens reused, {reused} could be"
        assert cost["recomputed"] == again, f"the price is said to be {cost['recomputed']} tokens, it is {again}"

    same_text()
    same_logits()
    no_more_than_needed()

"""The engine with a random model is the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.learn import small

texts = st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=3)


def grown(texts: list[str]) -> tuple[Any, Any, list[Any]]:
    """A parent, and branches with these texts, all computed."""
    engine = small.engine(reuse_prefixes=False)
    parent = engine.start("xyz")
    branches = engine.fork(parent, [engine.tokenizer.encode(text) for text in texts])
    for branch in branches:
        engine.settle(branch)
    return engine, parent, branches


def check(work: Any) -> None:
    @settings(max_examples=25)
    @given(texts)
    def sees_everything(texts: list[str]) -> None:
        """The joined branch stands on the parent's text, then on all that each branch wrote."""
        engine, parent, branches = grown(texts)
        found = engine.join(parent, branches, work.stitch, then=[25], keep=True).history
        wanted = "xyz" + "".join(texts) + "z"
        assert engine.tokenizer.decode(found) == wanted, f"its text is {engine.tokenizer.decode(found)!r}"

    @settings(max_examples=25)
    @given(texts)
    def computes_nothing(texts: list[str]) -> None:
        """No token is computed again: all keys and values are taken over as they are."""
        engine, parent, branches = grown(texts)
        cost = engine.join(parent, branches, work.stitch, then=[25], keep=True).join_cost
        tokens = 3 + sum(map(len, texts))
        assert cost["reused"] == tokens, f"{cost['reused']} of {tokens} tokens are reused"
        assert cost["recomputed"] == 0, f"{cost['recomputed']} tokens are computed again"

    @settings(max_examples=25)
    @given(texts)
    def right_position(texts: list[str]) -> None:
        """The next position is the first one after everything that is seen."""
        _, parent, branches = grown(texts)
        position, wanted = work.stitch(parent, branches).position, 3 + max(map(len, texts))
        assert position == wanted, f"it is {position}, not {wanted}"

    @settings(max_examples=25)
    @given(texts)
    def same_logits(texts: list[str]) -> None:
        """The logits after the join are those of the engine's own stitch."""
        engine, parent, branches = grown(texts)
        joined, true = (engine.join(parent, branches, how, [25], keep=True) for how in (work.stitch, "stitch"))
        distance = float((engine.settle(joined).logits - engine.settle(true).logits).abs().max())
        assert distance < 1e-8, f"the logits differ by up to {distance:.3g}"

    sees_everything()
    computes_nothing()
    right_position()
    same_logits()

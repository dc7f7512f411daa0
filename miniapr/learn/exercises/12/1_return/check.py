"""The engine with a random model is the judge: the logits after the join are those of plain text."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.learn import small

words = st.text("abc", min_size=1, max_size=4)


def called(prompt: str, parts: list[str]) -> tuple[Any, Any, list[Any]]:
    """A parent with that text, and children with contexts of their own, who have written two tokens each."""
    engine = small.engine(reuse_prefixes=False)
    parent = engine.start(prompt)
    children = engine.fork(parent, [engine.tokenizer.encode(part) for part in parts], keep=0)
    engine.decode(children, max_tokens=2)
    return engine, parent, children


def check(work: Any) -> None:
    @settings(max_examples=10)
    @given(words, st.lists(words, min_size=1, max_size=2), words, st.integers(0, 3))
    def replaces(prompt: str, parts: list[str], said: str, cut: int) -> None:
        """The joined branch stands on what is kept of the parent, then on the message, and on nothing else."""
        engine, parent, children = called("xyz" + prompt, parts)
        keep = None if cut == 0 else 3 + len(prompt) - min(cut, len(prompt))
        joined = engine.join(parent, children, work.message(engine.tokenizer.encode(said), keep))
        true = ("xyz" + prompt)[:keep] + said
        found = engine.tokenizer.decode(joined.history)
        assert found == true, f"the text is {found!r}, not {true!r}"
        engine.settle(joined)
        assert joined.position == len(true), f"position {joined.position} after {len(true)} tokens of text"
        distance = float((joined.logits - small.causal(joined.history)).abs().max())
        assert distance < 1e-8, f"the logits differ from those of the text by up to {distance:.3g}"

    @settings(max_examples=10)
    @given(words, words)
    def computes_the_message_only(prompt: str, said: str) -> None:
        """What the parent had is reused, and only the message is computed."""
        engine, parent, children = called(prompt, ["a", "b"])
        joined = engine.join(parent, children, work.message(engine.tokenizer.encode(said)))
        cost = joined.join_cost
        assert cost["reused"] == len(prompt), f"{cost['reused']} tokens reused, {len(prompt)} could be"
        assert cost["recomputed"] == 0, f"{cost['recomputed']} tokens are computed again"

    replaces()
    computes_the_message_only()

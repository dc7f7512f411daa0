"""Each request alone is the judge: with its own tokens before it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

words = st.lists(st.integers(1, 2), min_size=1, max_size=3)
asked = st.lists(st.tuples(words, st.lists(st.integers(1, 2), max_size=3)), min_size=1, max_size=4)


def packed(work: Any, requests: list[Any]) -> tuple[list[int], list[int], list[list[bool]], list[tuple[int, int]]]:
    tokens, positions, visible, learned = work.pack([(list(context), list(written)) for context, written in requests])
    assert len(tokens) == len(positions) == len(visible), (
        f"{len(tokens)} tokens, {len(positions)} positions, {len(visible)} rows of the mask"
    )
    return list(tokens), list(positions), [list(map(bool, row)) for row in visible], [tuple(one) for one in learned]


def check(work: Any) -> None:
    @given(asked)
    def shared(requests: Any) -> None:
        """Every common beginning is there once."""
        tokens, *_ = packed(work, requests)
        texts = [(*context, *written) for context, written in requests]
        count = len({text[:n] for text in texts for n in range(1, len(text) + 1)})
        assert len(tokens) == count, f"the row has {len(tokens)} tokens, {count} are enough"

    @given(asked)
    def counted(requests: Any) -> None:
        """Every written token of every request is learned, in order."""
        found = [token for _, token in packed(work, requests)[3]]
        true = [token for _, written in requests for token in written]
        assert found == true, f"learned are {found}, written were {true}"

    @given(asked)
    def alone(requests: Any) -> None:
        """A token is predicted from the text that stood before it in its request, at the positions it had."""
        tokens, positions, visible, learned = packed(work, requests)
        contexts = [[*context, *written[:n]] for context, written in requests for n in range(len(written))]
        for (place, token), context in zip(learned, contexts, strict=True):
            seen = [i for i, sees in enumerate(visible[place]) if sees]
            assert all(i <= place for i in seen), f"place {place} sees a token after it"
            found = sorted((positions[i], tokens[i]) for i in seen)
            true = list(enumerate(context))
            assert found == true, f"{token} comes out of (position, token) {found}, not {true}"

    shared()
    counted()
    alone()


def picture(work: Any, path: Path) -> None:
    """The mask of a plan, two threads and a conclusion that has read both."""
    from miniapr.show import draw

    plan, a, b = [1, 2], [3, 4, 5], [3, 6]
    tokens, positions, visible, _ = work.pack(
        [(plan, [9]), ([*plan, 9], a), ([*plan, 9], b), ([*plan, 9, *a, *b], [7])]
    )
    draw.matrix(visible, tokens, positions, "A trie: who sees whom").save(path)

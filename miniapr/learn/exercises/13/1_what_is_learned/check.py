"""Every token of a tree is a number of its own, so who wrote it can be looked up."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

shapes = st.recursive(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans(), st.just(()), st.none()),
    lambda inner: st.tuples(
        st.integers(0, 2), st.integers(0, 3), st.booleans(), st.lists(inner, max_size=2), st.none() | inner
    ),
    max_leaves=5,
)


class Grown:
    """A tree of the learner's parts, with what is true of each token."""

    def __init__(self, work: Any, shape: Any) -> None:
        self.work, self.tokens, self.learned = work, list[int](), list[bool]()
        self.root = self.grow(shape, False)

    def grow(self, shape: Any, copied: bool) -> Any:
        given, written, again, threads, then = shape
        copied = copied or again
        first = len(self.tokens)
        self.tokens += range(first, first + given + written)
        self.learned += [i >= given and not copied for i in range(given + written)]
        own = self.tokens[first:]
        below = tuple(self.grow(thread, copied) for thread in threads)
        after = self.grow(then, copied) if then else None
        return self.work.Part(tuple(own[:given]), tuple(own[given:]), below, after, again)


def plain(shape: Any) -> Any:
    """The same tree without copies."""
    given, written, _, threads, then = shape
    return given, written, False, [plain(thread) for thread in threads], plain(then) if then else None


def check(work: Any) -> None:
    @given(shapes)
    def tokens(shape: Any) -> None:
        """The row has every token of the tree once: a part, its threads in order, what follows."""
        tree = Grown(work, shape)
        found = list(work.row(tree.root)[0])
        assert found == tree.tokens, f"the tokens are {found}, not {tree.tokens}"

    @given(shapes)
    def written(shape: Any) -> None:
        """The loss is on what the model wrote."""
        compare(Grown(work, plain(shape)))

    @given(shapes)
    def once(shape: Any) -> None:
        """What stands there again is not learned again, nor what is inside of it."""
        compare(Grown(work, shape))

    def compare(tree: Grown) -> None:
        found = list(work.row(tree.root)[1])
        assert len(found) == len(tree.tokens), f"{len(found)} labels for {len(tree.tokens)} tokens"
        for token, (mine, true) in enumerate(zip(found, tree.learned, strict=True)):
            assert bool(mine) == true, f"token {token} is {'' if mine else 'not '}learned"

    tokens()
    written()
    once()

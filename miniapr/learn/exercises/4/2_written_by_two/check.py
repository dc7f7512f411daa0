"""Plain lists, copied at each fork, are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

# (text, None): it forks; (text, token): it writes. Texts are counted as made.
steps = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 9)), max_size=14)


def check(work: Any) -> None:
    @given(st.integers(0, 7), st.integers(1, 3))
    def two(length: int, more: int) -> None:
        """A text and its fork both write on, and each reads its own."""
        a, prompt = work.Text(work.Pool()), list(range(length))
        for token in prompt:
            a.append(token)
        b = a.fork()
        for i in range(more):
            a.append(100 + i)
            b.append(200 + i)
        for name, text, first in (("the first", a, 100), ("its fork", b, 200)):
            wanted = [*prompt, *range(first, first + more)]
            assert text.read() == wanted, f"{name} reads {text.read()}, not {wanted}"

    @given(steps)
    def any_steps(steps: list[tuple[int, int | None]]) -> None:
        """Whatever is forked and written: each reads its own, references are counted right, no copy is in vain."""
        pool = work.Pool()
        wanted: list[list[Any]] = [[]]
        texts, taken = [work.Text(pool)], 0
        for number, token in steps:
            i = number % len(texts)
            if token is None:
                texts.append(texts[i].fork())
                wanted.append(list(wanted[i]))
                continue
            last = texts[i].table[-1:]
            full = len(wanted[i]) % work.SIZE == 0
            taken += full or pool.refs[last[0]] > 1
            texts[i].append(token)
            wanted[i].append(token)
            for n, (text, tokens) in enumerate(zip(texts, wanted, strict=True)):
                assert text.read() == tokens, f"text {n} reads {text.read()}, not {tokens}"
            tables = [block for text in texts for block in text.table]
            refs = [tables.count(block) for block in range(len(pool.refs))]
            assert pool.refs == refs, f"the tables say {refs} references, the pool says {pool.refs}"
            assert len(pool.refs) == taken, f"{len(pool.refs)} blocks were taken, {taken} are needed"

    two()
    any_steps()

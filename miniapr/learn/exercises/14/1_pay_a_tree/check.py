"""The package's own rewards, on the same trees, are the judge."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.rl import rewards
from miniapr.rl.rollouts import Rollout, Unit

stretches = st.integers(0, 9)
runs = st.recursive(
    st.lists(stretches, max_size=2),
    lambda inner: st.lists(stretches | st.lists(inner, min_size=1, max_size=3), max_size=3),
    max_leaves=6,
)
sizes = st.sampled_from([0.02, 0.5, 1.0])
serials = st.integers(1, 40)


def tree(run: Any) -> Unit:
    """The run as the package has it."""
    if not run:
        return Unit((), ())
    first, rest = run[0], tree(run[1:])
    if isinstance(first, int):
        return Unit((), (0,) * first, then=rest)
    return Unit((), (), threads=tuple(tree(branch) for branch in first), then=rest)


def near(found: float, true: float, what: str) -> None:
    assert abs(found - true) < 1e-9, f"{what} is {found:.4f}, not {true:.4f}"


def check(work: Any) -> None:
    @given(runs, sizes)
    @settings(max_examples=40)
    def own_tokens(run: Any, rho: float) -> None:
        """ratio pays a right answer for the share of its tokens that nobody waited for."""
        near(work.ratio(run, True, rho), rewards.ratio(Rollout("", tree(run), True), rho=rho), "ratio")

    @given(runs, sizes, serials)
    @settings(max_examples=40)
    def in_line(run: Any, rho: float, serial: int) -> None:
        """relative pays a right answer for what it saved beside the line, and takes what it lost, down to 1 - rho."""
        true = rewards.relative(Rollout("", tree(run), True, serial), rho=rho)
        near(work.relative(run, True, rho, serial), true, "relative")

    @given(runs, sizes, serials)
    @settings(max_examples=40)
    def gate(run: Any, rho: float, serial: int) -> None:
        """A wrong answer is paid nothing, however quick it was."""
        near(work.ratio(run, False, rho), 0, "ratio of a wrong answer")
        near(work.relative(run, False, rho, serial), 0, "relative of a wrong answer")

    @given(stretches, st.lists(st.integers(1, 9), min_size=2, max_size=4), sizes)
    @settings(max_examples=40)
    def padding(first: int, threads: list[int], rho: float) -> None:
        """Padding every thread to the longest changes nothing in relative (and is paid by ratio)."""
        ragged = [first, [[length] for length in threads]]
        padded = [first, [[max(threads)] for _ in threads]]
        near(work.relative(padded, True, rho, 30), work.relative(ragged, True, rho, 30), "relative, padded,")
        more = work.ratio(padded, True, rho) - work.ratio(ragged, True, rho)
        assert more >= -1e-9, f"ratio pays {-more:.4f} less for the padded run: is L all tokens?"

    own_tokens()
    in_line()
    gate()
    padding()

"""Who decoded when: a picture made from events alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.events import Event

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"prefill": "#4477aa", "decode": "#66b08a", "again": "#d9663f"}
MEANING = {"prefill": "given tokens", "decode": "one decoded token", "again": "tokens computed again"}
HOW = {"stitch": "stitch", "stitch_contiguous": "contiguous", "stitch_copied": "copied", "reprefill": "re-prefill"}


@dataclass(frozen=True)
class Bar:
    """What one branch computed in one forward pass."""

    step: int
    kind: str
    tokens: int


@dataclass
class Lane:
    """One branch. ``parent``: whom it was forked from, or None; ``joins``: passes, names and children of its joins;
    ``wait``: passes that it was kept waiting for what it does not depend on."""

    branch: int
    request: int | None
    parent: int | None = None
    wait: int = 0
    bars: list[Bar] = field(default_factory=list)
    joins: list[tuple[int, str, tuple[int, ...]]] = field(default_factory=list)


@dataclass
class Timeline:
    """What the picture shows. Steps are forward passes, counted from 0.

    forks   (pass, parent, children)
    passes  in all
    """

    lanes: list[Lane] = field(default_factory=list)
    forks: list[tuple[int, int, tuple[int, ...]]] = field(default_factory=list)
    passes: int = 0


def timeline(events: Iterable[Event]) -> Timeline:
    """Sort events by branch and pass. What was done after each other but depends on nothing in between (a second
    thought from the beginning, another join of the same branches) is told as if it had been done at once: what one
    reads off is how long each would take."""
    made, lanes = Timeline(), dict[int, Lane]()
    first = dict[tuple[int, ...], int]()  # pass of the first join of these branches
    sampled = set[int]()  # branches with a decoded token whose key and value are still to be computed
    again = dict[int, int]()  # tokens that a join left to be computed a second time

    def lane(event: Event) -> Lane:
        assert event.branch is not None
        return lanes.setdefault(event.branch, Lane(event.branch, event.request))

    for event in events:
        step = made.passes
        if event.kind == "step":
            made.passes += 1
        elif event.kind == "started":
            lane(event).wait = step
        elif event.kind == "decoded":
            sampled.add(lane(event).branch)
        elif event.kind == "forked":
            children = tuple(child["branch"] for child in event.data["children"])
            made.forks.append((step, lane(event).branch, children))
            for child in children:
                lanes[child] = Lane(child, event.request, event.branch, lane(event).wait)
        elif event.kind == "joined":
            children = tuple(event.data["children"])
            if event.branch not in lanes:  # it joins them beside others
                since = lanes[children[0]].wait if children and children[0] in lanes else 0
                lane(event).wait = since + step - first.setdefault(children, step)
            lane(event).joins.append((step, event.data["how"], children))
            again[lane(event).branch] = event.data["recomputed"]
        elif event.kind == "computed" and event.branch is not None:
            tokens = event.data["stop"] - event.data["start"]
            behind = again.get(event.branch, 0)
            kind = "again" if behind else "decode" if tokens == 1 and event.branch in sampled else "prefill"
            sampled.discard(event.branch)
            count, again[event.branch] = min(tokens, behind) or tokens, max(0, behind - tokens)
            lane(event).bars.append(Bar(step, kind, count))
    made.lanes = list(lanes.values())
    return made


def plot(events: Sequence[Event], path: str | Path, labels: Mapping[int, str] | None = None, title: str = "") -> None:
    """Draw into a file; its suffix says the format. ``labels``: what to call branches, beside their numbers."""
    from matplotlib.figure import Figure

    made = timeline(events)
    figure = Figure(figsize=(11, 1.6 + 0.3 * len(made.lanes)), layout="constrained", dpi=110)
    lanes = figure.subplots()
    _draw_lanes(lanes, made, labels or {})
    lanes.set_title(f"Who decoded when: {title}" if title else "Who decoded when", loc="left", fontsize=12)
    figure.savefig(path)


def _draw_lanes(axes: Axes, made: Timeline, labels: Mapping[int, str]) -> None:
    from matplotlib.patches import Patch

    row = {lane.branch: i for i, lane in enumerate(made.lanes)}
    for lane in made.lanes:
        y = row[lane.branch]
        for kind, colour in COLOURS.items():
            bars = [bar for bar in lane.bars if bar.kind == kind]
            if bars:
                axes.broken_barh(runs([bar.step - lane.wait for bar in bars]), (y - 0.36, 0.72), facecolors=colour)
        for bar in lane.bars:
            if bar.kind == "again" or bar.tokens > 16:
                axes.annotate(
                    f"{bar.tokens} at once", (bar.step - lane.wait, y), (-9, 0), textcoords="offset points",
                    ha="right", va="center", fontsize=8, color=COLOURS[bar.kind], fontweight="bold",
                )  # fmt: skip
        for step, _, children in lane.joins:
            _mark_join(axes, step - lane.wait, y, [row[child] for child in children if child in row])
    for fork, parent, children in made.forks:
        ys, step = [row[child] for child in children], fork - made.lanes[row[parent]].wait
        axes.plot([step, step], [row[parent], max(ys, default=row[parent])], color="black", lw=1, zorder=0)
        axes.plot(step, row[parent], marker="D", color="black", ms=6, clip_on=False)
    axes.set_yticks(range(len(made.lanes)), [_name(lane, labels) for lane in made.lanes], fontsize=9)
    axes.set_ylim(len(made.lanes) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("forward pass, of each line of thought from its own beginning")
    handles = [Patch(color=colour, label=MEANING[kind]) for kind, colour in COLOURS.items()]
    marks = [("D", "black", "fork"), (">", "white", "join")]
    handles += [axes.plot([], [], m, mfc=c, mec="black", ls="", label=name)[0] for m, c, name in marks]  # type: ignore[misc]
    axes.legend(handles=handles, loc="upper right", fontsize=8, framealpha=1.0)
    axes.spines[["top", "right"]].set_visible(False)


def runs(steps: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending passes as (begin, length) of stretches without a gap."""
    found: list[tuple[int, int]] = []
    for step in steps:
        if found and sum(found[-1]) == step:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((step, 1))
    return found


def _mark_join(axes: Axes, step: int, y: int, threads: Sequence[int]) -> None:
    if threads:
        axes.plot([step, step], [min(threads), y], color="black", lw=0.6, ls=":", zorder=0)
    axes.plot(step, y, marker=">", mfc="white", mec="black", ms=7, clip_on=False)


def _name(lane: Lane, labels: Mapping[int, str]) -> str:
    if lane.branch in labels:
        return f"{labels[lane.branch]}   {lane.branch}"
    if lane.joins and not any(bar.step < lane.joins[0][0] for bar in lane.bars):
        how = lane.joins[0][1]
        return f"{HOW.get(how, how)}   {lane.branch}"
    return f"root   {lane.branch}" if lane.parent is None else f"{lane.branch}"

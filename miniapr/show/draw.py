"""Small pictures of live objects, for the chapters: what is in the pool, what a branch sees, who attends to whom.

    draw.tree(root, *threads)      spans by position, with forks and joins
    draw.pool(engine)              every block: whose it is, what lies in it, how many hold it
    draw.table(engine, branch)     from a branch's tokens through its block table to the pool
    draw.mask(branch)              who attends to whom, with positions on the edges
    draw.matrix(values)            any small matrix with its numbers, rows and columns labelled
    draw.axes(title)               an empty plot, for curves

A span has one colour in all pictures. Every function returns a ``Picture``: a notebook shows it by itself,
``picture.save(path)`` writes it to a file. Nothing is drawn but what is read from the objects.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..engine.branch import Branch
from ..kv.ancestry import ancestry
from ..kv.span import Piece, Span
from ..kv.unroll import unroll

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..engine.engine import Engine

# Light enough for black text on them, and told apart by people who see red and green alike.
SPANS = (
    "#8ecae6", "#ffc94d", "#a7d49b", "#f4978e", "#cdb4db", "#d9c58b", "#7fdcd1", "#f2a6c9",
    "#b5b9ff", "#c7e06f", "#e0a878", "#c3ccd4", "#9fb8d9", "#e3d44f", "#8fbfa0", "#d99ad9",
)  # fmt: skip
INK, FAINT, FREE = "#1d2733", "#8a949e", "#f1f3f5"
SHARP = 1.75  # pixels drawn for each pixel shown


def colour(span: Span) -> str:
    """The same in every picture."""
    return SPANS[span.id % len(SPANS)]


@dataclass(frozen=True)
class Picture:
    """A matplotlib figure that shows itself in a notebook, without pyplot and its global state."""

    figure: Figure

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """In few colours: a quarter of the bytes, so that notebooks can be kept with their pictures."""
        from PIL import Image

        drawn, file = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, format="png", dpi=100 * SHARP)
        with Image.open(drawn) as image:
            image.convert("RGB").quantize(64).save(file, "png", optimize=True)
        return file.getvalue(), {"width": round(100 * self.figure.get_figwidth())}

    def save(self, path: str | Path) -> None:
        """Write it to a file; the suffix says the format."""
        self.figure.savefig(path, dpi=100 * SHARP)


def axes(title: str = "", width: float = 7, height: float = 3.5) -> tuple[Picture, Axes]:
    """An empty plot ``width`` by ``height`` inches, and the picture it is in."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    plot = figure.subplots()
    plot.spines[["top", "right"]].set_visible(False)
    plot.set_title(title, loc="left", fontsize=10, color=INK)
    return Picture(figure), plot


def _canvas(title: str, width: float, height: float, unit: float) -> tuple[Picture, Axes]:
    """Axes without a frame for ``width`` by ``height`` cells of ``unit`` inches, counted from the top left."""
    across = max(3.2, 0.085 * len(title), width * unit + 0.2)
    picture, plot = axes(title, across, height * unit + (0.45 if title else 0.15))
    plot.set_axis_off()
    plot.set_xlim(0, max(width, (across - 0.2) / unit))
    plot.set_ylim(height, 0)
    plot.set_aspect("equal", anchor="NW")
    return picture, plot


def _box(plot: Axes, x: float, y: float, width: float, height: float, fill: str, **more: Any) -> None:
    from matplotlib.patches import Rectangle

    plot.add_patch(Rectangle((x, y), width, height, facecolor=fill, **{"edgecolor": "white", "lw": 1.0, **more}))


def _text(plot: Axes, x: float, y: float, text: object, size: float = 8, **more: Any) -> None:
    plot.text(x, y, str(text), fontsize=size, **{"ha": "center", "va": "center", "color": INK, **more})


# A matrix


def matrix(
    values: Any,
    rows: Sequence[object] = (),
    columns: Sequence[object] = (),
    title: str = "",
    number: str = ".2f",
    fills: Sequence[Sequence[str]] | None = None,
) -> Picture:
    """Numbers in a grid. ``values`` [R, C]: anything numpy reads; NaN and None stay empty, booleans become dots.

    rows, columns  labels of the edges
    fills          a colour for each cell; by default the larger the number the bluer
    """
    cells = [[_cell(value, number) for value in row] for row in values]
    if fills is None:
        fills = _blues([[_float(value) for value in row] for row in values])
    return _grid(cells, fills, rows, columns, title)


def _cell(value: Any, number: str) -> str:
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return "●" if value else ""
    if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return ""
    return value if isinstance(value, str) else format(value, "d" if isinstance(value, int) else number)


def _float(value: Any) -> float:
    return float("nan") if value is None or isinstance(value, str) else float(value)


def _blues(values: Sequence[Sequence[float]]) -> list[list[str]]:
    """White for the smallest, a blue that black can be read on for the largest."""
    known = np.array(values, dtype=float)
    finite = known[np.isfinite(known)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    share = np.nan_to_num((known - low) / (high - low if high > low else 1.0), nan=0.0, posinf=1.0, neginf=0.0)
    mixed = [[np.array([255, 255, 255]) - s * np.array([113, 53, 25]) for s in row] for row in share]
    return [["#{:02x}{:02x}{:02x}".format(*map(round, c.tolist())) for c in row] for row in mixed]


def _grid(
    cells: Sequence[Sequence[str]],
    fills: Sequence[Sequence[str]],
    rows: Sequence[object],
    columns: Sequence[object],
    title: str,
    positions: Sequence[Sequence[int]] = ((), ()),
) -> Picture:
    """Cells with their labels; ``positions`` of rows and columns stand between the labels and the cells."""
    count, across = len(cells), len(cells[0]) if cells else 0
    wide = max([1.0, *(0.22 * len(text) + 0.35 for row in cells for text in row)])
    number = 0.85 if positions[0] else 0.0
    margin = number + max([0.2, *(0.21 * len(str(label)) + 0.3 for label in rows)])
    longest = max([0, *(len(str(label)) for label in columns)])
    upright = 0.21 * longest > wide  # long labels stand on end
    head = number + (0.21 * longest + 0.2 if upright else 0.8 if columns else 0.1)
    picture, plot = _canvas(title, margin + across * wide + 0.1, head + count + 0.1, min(0.36, 10 / (across * wide)))
    for r, row in enumerate(cells):
        for c, text in enumerate(row):
            x, y = margin + c * wide, head + r
            _box(plot, x, y, wide, 1, fills[r][c], edgecolor="#c9d1d9", lw=0.7)
            _text(plot, x + wide / 2, y + 0.5, text)
    for r, label in enumerate(rows):
        _text(plot, margin - number - 0.15, head + r + 0.5, label, ha="right")
    for c, label in enumerate(columns):
        x = margin + (c + 0.5) * wide
        _text(plot, x, head - number - 0.15, label, va="bottom", rotation=90 if upright else 0)
    for r, position in enumerate(positions[0]):
        _text(plot, margin - 0.15, head + r + 0.5, position, 7, ha="right", color=FAINT)
    for c, position in enumerate(positions[1]):
        _text(plot, margin + (c + 0.5) * wide, head - 0.4, position, 7, color=FAINT)
    return picture


# Who attends to whom


def mask(*branches: Branch, title: str = "", rows: int | None = None) -> Picture:
    """Who attends to whom, in everything these branches were computed from; at most about 40 tokens are readable.

    A row is a token that looks, a column one that is looked at; a filled cell: it sees it, in the colour of
    the span. Beside each token stands its position; a number in a cell says by how much the key counts as moved
    for that row. ``rows``: only the last so many.
    """
    dense = unroll([(branch.view, branch.span) for branch in branches])
    total = len(dense.tokens)
    ends = [*dense.offset.values(), total][1:]
    owner = [span for (span, begin), end in zip(dense.offset.items(), ends, strict=True) for _ in range(begin, end)]
    visible, shift, positions = dense.visible.tolist(), dense.shift.tolist(), dense.positions.tolist()
    names = [branches[0].request.tokenizer.decode([token]) for token in dense.tokens.tolist()]
    lines = range(0 if rows is None else max(0, total - rows), total)
    cells = [[f"{shift[i][j]:+d}" if visible[i][j] and shift[i][j] else "" for j in range(total)] for i in lines]
    fills = [[colour(owner[j]) if visible[i][j] else FREE for j in range(total)] for i in lines]
    return _grid(cells, fills, [names[i] for i in lines], names, title, ([positions[i] for i in lines], positions))


# The pool


def pool(engine: Engine, title: str = "", columns: int = 8) -> Picture:
    """Every block: its number, what lies in its slots, in the colour of the span that owns it, and beside the
    number how many hold it, if more than one. A block that only the prefix cache holds is hatched."""
    size, blocks = engine.pool.block_size, len(engine.pool)
    columns = min(columns, blocks)
    wide, tall = _slots_wide(size) + 0.5, 2.0
    held = _held(engine)
    spans = sorted({one.span for one in held.values()}, key=lambda span: span.id)
    height = -(-blocks // columns) * tall
    picture, plot = _canvas(title, columns * wide, height + 0.9, min(0.36, 9 / (columns * wide)))
    for block in range(blocks):
        x, y = block % columns * wide, block // columns * tall
        _block(engine, plot, x, y + 0.7, block, held.get(block))
    _legend(plot, spans, height + 0.5)
    return picture


def _slots_wide(size: int) -> float:
    """Few slots are wide enough for a token's text."""
    return size * 1.5 if size <= 8 else size * 0.3


@dataclass(frozen=True)
class _Held:
    """A block that someone holds: the span that owns it, which of the span's blocks it is, and by how many."""

    span: Span
    number: int
    refs: int
    cached: bool  # only the prefix cache holds it


def _held(engine: Engine) -> dict[int, _Held]:
    pieces = [node.piece for node in engine.kv.tree if node.piece]
    cached = Counter(block for piece in pieces for block in engine.kv.blocks(piece))
    for request in engine.scheduler.requests.values():
        for branch in request.alive:
            pieces += (*branch.view, branch.span.whole())
    refs = engine.pool.refs.tolist()
    return {
        block: _Held(span, i, refs[block], cached[block] == refs[block])
        for span in ancestry(pieces)
        for i, block in enumerate(span.blocks)
    }


def _block(engine: Engine, plot: Axes, x: float, y: float, block: int, held: _Held | None) -> None:
    size = engine.pool.block_size
    wide = _slots_wide(size)
    _text(plot, x, y - 0.28, block, 7, ha="left", color=INK if held else FAINT)
    if held and held.refs > 1:
        _text(plot, x + wide, y - 0.28, f"held {held.refs}x", 7, ha="right", fontweight="bold")
    filled = min(size, max(0, held.span.written - held.number * size)) if held else 0
    step = wide / size
    for slot in range(size):
        if not held or slot >= filled:
            _box(plot, x + slot * step, y, step, 1, FREE)
            continue
        hatch = "////" if held.cached else None
        _box(plot, x + slot * step, y, step, 1, colour(held.span), hatch=hatch, lw=1.0 if size <= 8 else 0.3)
        if size <= 8:
            _text(plot, x + (slot + 0.5) * step, y + 0.5, _name(engine, held.span.tokens[held.number * size + slot]), 7)
    _box(plot, x, y, wide, 1, "none", edgecolor=INK if held else "#c9d1d9", lw=0.8)


def _name(engine: Engine, token: int, longest: int = 6) -> str:
    return engine.tokenizer.decode([token])[:longest]


def _legend(plot: Axes, spans: Iterable[Span], y: float) -> None:
    x = 0.0
    for span in spans:
        _box(plot, x, y - 0.25, 0.5, 0.5, colour(span))
        label = f"span {span.id}"
        _text(plot, x + 0.65, y, label, 7, ha="left")
        x += 0.2 * len(label) + 1.4


# A block table


def table(engine: Engine, branch: Branch, title: str = "", columns: int = 8) -> Picture:
    """What a branch sees, token by token with positions, cut into blocks; below each block, where in the pool it
    lies, with a line to it if there are few."""
    size = engine.pool.block_size
    step, wide = _slots_wide(size) / size, _slots_wide(size) + 0.5
    logical = list(_table_blocks(branch, size))
    columns = min(columns, max(len(logical), len(engine.pool)))
    top = 0.6 + 2.3 * -(-len(logical) // columns)
    lines = len(logical) <= columns
    below = top + (2.8 if lines else 1.4)
    height = below + 2.0 * -(-len(engine.pool) // columns) - 0.8
    picture, plot = _canvas(title, columns * wide, height, min(0.36, 9 / (columns * wide)))
    _text(plot, 0, 0.2, f"what branch {branch.id} sees, in order, with positions", 8, ha="left", color=FAINT)
    _text(plot, 0, below - 0.9, "the pool", 8, ha="left", color=FAINT)
    held = _held(engine)
    for block in range(len(engine.pool)):
        _block(engine, plot, block % columns * wide, below + block // columns * 2.0, block, held.get(block))
    for place, (piece, number) in enumerate(logical):
        x, y = place % columns * wide, 1.2 + place // columns * 2.3
        for slot, i in enumerate(range(number * size, (number + 1) * size)):
            inside = piece.start <= i < piece.stop
            fill, lw = colour(piece.span) if inside else FREE, 1.0 if size <= 8 else 0.3
            _box(plot, x + slot * step, y, step, 1, fill, lw=lw)
            if inside and size <= 8:
                _text(plot, x + (slot + 0.5) * step, y + 0.5, _name(engine, piece.span.tokens[i]), 7)
                _text(plot, x + (slot + 0.5) * step, y - 0.28, piece.span.position + i + piece.shift, 7, color=FAINT)
        if number >= len(piece.span.blocks):
            _text(plot, x, y + 1.25, "not computed yet", 7, ha="left", color=FAINT)
            continue
        block = piece.span.blocks[number]
        _text(plot, x, y + 1.3, f"in block {block}", 7, ha="left")
        if lines:
            to = block % columns * wide + wide / 2, below + block // columns * 2.0 - 0.05
            line = {"arrowstyle": "->", "color": FAINT, "lw": 1.0}
            plot.annotate("", to, (x + wide / 2, y + 1.5), arrowprops=line)
    return picture


def _table_blocks(branch: Branch, size: int) -> Iterator[tuple[Piece, int]]:
    """Each piece that a branch sees, with the numbers of the span's blocks that it touches, in order."""
    for piece in (*branch.view, branch.span.whole()):
        for number in range(piece.start // size, -(-piece.stop // size)):
            yield piece, number


# The tree


def tree(*branches: Branch, title: str = "") -> Picture:
    """The spans that these branches stand on, each from its first position to its last, and what followed what."""
    spans = [span for span in ancestry(p for b in branches for p in (*b.view, b.span.whole())) if span.tokens]
    spans.sort(key=lambda span: span.id)
    before = {span: _before(span) for span in spans}
    lanes = _lanes(spans, before)
    longest, rows = max(span.end for span in spans), max(lanes.values()) + 1
    written = longest <= 32  # wide enough for the tokens themselves
    unit = 0.36 if written else min(0.36, 9.0 / (longest + 8))
    gap = 0.06 / unit  # where lines can pass between two spans
    tokenizer = branches[0].request.tokenizer
    picture, plot = axes(title, max(4.0, (longest + 3) * unit * 1.15), 0.75 + rows * 0.4)
    for span in spans:
        y = lanes[span]
        _box(plot, span.position + gap, y - 0.36, len(span.tokens) - 2 * gap, 0.72, colour(span))
        if written:
            for i, token in enumerate(span.tokens):
                word = tokenizer.decode([token])
                _text(plot, span.position + i + 0.5, y, word, min(7, 42 / max(1, len(word))))  # as wide as its cell
        else:
            label = f"{len(span.tokens)} tokens: {tokenizer.decode(span.tokens)}"
            room = max(8, int((1.1 * len(span.tokens) * unit - 0.2) / 0.054))
            label = label if len(label) <= room else label[: room - 1] + "…"
            _text(plot, span.position + 2 * gap, y, label, 7, ha="left")
        for earlier in before[span]:
            left = earlier.position + max(piece.stop for piece in span.view if piece.span is earlier)
            plot.plot([left - gap, left], [lanes[earlier]] * 2, color=INK, lw=0.9, zorder=0)
            plot.plot([left, span.position], [lanes[earlier], y], color=INK, lw=0.9, zorder=0)
            plot.plot([span.position, span.position + gap], [y, y], color=INK, lw=0.9, zorder=0)
    plot.set_ylim(rows - 0.4, -0.6)
    plot.set_xlim(-0.3, longest + 0.3)
    plot.set_yticks([])
    plot.spines["left"].set_visible(False)
    plot.set_xlabel("position", fontsize=8)
    plot.locator_params(axis="x", integer=True)
    plot.tick_params(labelsize=8)
    return picture


def _before(span: Span) -> list[Span]:
    """The spans that it directly goes on from: those it sees and no other one that it sees has seen."""
    seen = list(dict.fromkeys(piece.span for piece in span.view))
    return [one for one in seen if not any(one in (piece.span for piece in other.view) for other in seen)]


def _lanes(spans: Sequence[Span], before: dict[Span, list[Span]]) -> dict[Span, int]:
    """A row for each span: a join goes back to the row of the fork, the branches of a fork lie one below the other."""
    lanes: dict[Span, int] = {}
    lowest = -1
    for span in spans:
        earlier = [one for one in before[span] if one in lanes]
        forked = len(earlier) == 1 and any(before[other] == before[span] for other in spans if other is not span)
        if not earlier or forked:
            lowest += 1
            lanes[span] = lowest
        else:
            lanes[span] = min(lanes[one] for one in earlier) if len(earlier) == 1 else lanes[span.view.pieces[0].span]
    return lanes

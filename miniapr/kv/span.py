"""Spans, pieces and views: a model's thoughts as an append-only history.

A branch writes a *span*. What a branch may attend to is a *view*: an ordered tuple of *pieces* of
sealed spans. Forking copies a view (a tuple), joining concatenates views; neither touches a key or a
value. Three different numbers belong to every token and no one of them can be derived from another:

    position   its RoPE index as the viewer counts it     span.position + i + piece.shift
    index      its place in the flattened view            tokens in the pieces before it + i - piece.start
    slot       where its key and value lie in the pool    span.blocks[i // block_size], i % block_size

This module is plain data: it knows nothing of the pool, so training and the oracle use it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain


class Span:
    """An append-only run of tokens written by one branch, at consecutive positions.

    Owns: its tokens, and the list of blocks in which their keys and values lie (``blocks`` covers a
    prefix of the tokens; ``written`` of them have their key and value computed and still there).
    Never does: change a token or a key once written. Since it remembers the view under which it was
    written, anything evicted can be computed again and comes out the same.
    """

    __slots__ = ("blocks", "causal", "id", "peak", "position", "tokens", "turn", "view", "written")

    def __init__(
        self,
        position: int,
        view: View,
        tokens: Iterable[int] = (),
        id: int = -1,
        turn: int = 0,
    ) -> None:
        self.id = id
        self.position = position
        self.view = view
        self.tokens: list[int] = list(tokens)
        self.written = 0
        self.peak = 0  # how many of its tokens have ever been computed: computing those again is a cost
        self.blocks: list[int] = []
        # A moved copy of another span: its keys lie in the pool turned by this much beyond their positions.
        self.turn = turn
        # Its KV is what a plain causal prefill of the same text would give. Only such spans may enter the
        # prefix cache: a stitched one under its plain tokens would poison later requests (fault M3, F17).
        self.causal = not turn and view.causal and position == len(view)

    def __repr__(self) -> str:
        return f"Span({self.id}, position={self.position}, tokens={len(self.tokens)}, written={self.written})"

    @property
    def end(self) -> int:
        """The position after its last token."""
        return self.position + len(self.tokens)

    @property
    def behind(self) -> int:
        """Tokens whose key and value are not (or no longer) in the pool."""
        return len(self.tokens) - self.written

    def whole(self) -> Piece:
        return Piece(self, 0, len(self.tokens))


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens ``start:stop`` of a span, whose positions count as moved by ``shift`` for this viewer."""

    span: Span
    start: int
    stop: int
    shift: int = 0

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def position(self) -> int:
        """The position of its first token, as the viewer counts."""
        return self.span.position + self.start + self.shift

    @property
    def end(self) -> int:
        return self.position + len(self)

    @property
    def tokens(self) -> list[int]:
        return self.span.tokens[self.start : self.stop]

    def moved(self, by: int) -> Piece:
        """The same piece shifted further: amounts add up, keys are always shifted from their origin."""
        return Piece(self.span, self.start, self.stop, self.shift + by)


def _normal(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Drop empty pieces and melt neighbours that continue each other, so equal views compare equal."""
    last: Piece | None = None
    for piece in pieces:
        if not len(piece):
            continue
        if last and last.span is piece.span and last.stop == piece.start and last.shift == piece.shift:
            last = Piece(last.span, last.start, piece.stop, last.shift)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


@dataclass(frozen=True)
class View:
    """What a branch attends to before its own open span: an ordered, immutable tuple of pieces."""

    pieces: tuple[Piece, ...] = ()
    length: int = field(init=False, compare=False)
    causal: bool = field(init=False, compare=False)

    def __post_init__(self) -> None:
        pieces = tuple(_normal(self.pieces))
        object.__setattr__(self, "pieces", pieces)
        object.__setattr__(self, "length", sum(map(len, pieces)))
        object.__setattr__(self, "causal", _causal_prefix(pieces) == len(pieces))

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __add__(self, pieces: Iterable[Piece]) -> View:
        return View((*self.pieces, *pieces))

    @property
    def tokens(self) -> list[int]:
        return list(chain.from_iterable(piece.tokens for piece in self.pieces))

    @property
    def causal_prefix(self) -> View:
        """The longest head of the view whose KV equals that of ordinary causal text."""
        return self if self.causal else View(self.pieces[: _causal_prefix(self.pieces)])

    def after(self, length: int) -> tuple[Piece, ...]:
        """The pieces beyond the first ``length`` tokens of the flattened view."""
        out = []
        for piece in self.pieces:
            cut = min(len(piece), max(0, length))
            length -= len(piece)
            if cut < len(piece):
                out.append(Piece(piece.span, piece.start + cut, piece.stop, piece.shift))
        return tuple(out)

    def head(self, length: int) -> View:
        """The first ``length`` tokens of the flattened view."""
        out = []
        for piece in self.pieces:
            if length > 0:
                out.append(Piece(piece.span, piece.start, min(piece.stop, piece.start + length), piece.shift))
            length -= len(piece)
        return View(tuple(out))


def _causal_prefix(pieces: tuple[Piece, ...]) -> int:
    """How many leading pieces are plain causal text at positions 0, 1, 2, ...

    A piece fits if nothing moved it, it starts where the text before it ends, and its span was itself
    written causally after exactly that much text.
    """
    length = 0
    for count, piece in enumerate(pieces):
        if piece.shift or piece.start or not piece.span.causal or piece.position != length:
            return count
        length += len(piece)
    return len(pieces)


def ancestry(pieces: Iterable[Piece]) -> dict[Span, int]:
    """Every span needed to compute ``pieces`` from nothing, each after those that it depends on.

    Returns ``{span: stop}``: the first ``stop`` tokens of the span are needed.
    """
    needed: dict[Span, int] = {}

    def visit(piece: Piece) -> None:
        span = piece.span
        if span not in needed:
            for earlier in span.view:
                visit(earlier)
        # A moved copy is computed as a whole before its keys are turned.
        needed[span] = max(needed.get(span, 0), len(span.tokens) if span.turn else piece.stop)

    for piece in pieces:
        visit(piece)
    return needed

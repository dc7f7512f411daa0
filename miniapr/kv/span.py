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
from dataclasses import dataclass
from itertools import chain
from typing import Protocol


class Span:
    """An append-only run of tokens written by one branch, at consecutive positions.

    Owns: its tokens, and the list of blocks in which their keys and values lie (``blocks`` covers a
    prefix of the tokens; ``written`` of them have their key and value computed and still there).
    Never does: change a token or a key once written. Since it remembers the view under which it was
    written, anything evicted can be computed again and comes out the same.

    peak   how many of its tokens have ever been in the pool: others may know these, and stand on them
    weave  the weave of which it is one, if it is: then its tokens see those of others too, as the weave says
    voice  the voice in which it is said: the model adds that one's vector to its keys and values; 0: none
    again  how many of its first tokens are no news when they are computed: they had been computed before, in
           this span or as the same text elsewhere. A cost, nothing else follows from it
    """

    __slots__ = ("again", "blocks", "causal", "id", "peak", "position", "tokens", "view", "voice", "weave", "written")

    def __init__(
        self, position: int, view: View, tokens: Iterable[int] = (), id: int = -1, again: int = 0, voice: int = 0
    ) -> None:
        self.id = id
        self.position = position
        self.view = view
        self.tokens: list[int] = list(tokens)
        self.written = 0
        self.peak = 0
        self.again = again
        self.voice = voice
        self.weave: Together | None = None
        self.blocks: list[int] = []
        # Its KV is what a plain causal prefill of the same text would give. Only such spans may enter the
        # prefix cache: a stitched one under its plain tokens would poison later requests (fault M3, F17).
        self.causal = view.causal and position == view.length and not voice

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

    def moved(self, by: int, stop: int, id: int) -> Span:
        """A span that says its first ``stop`` tokens over again, with everything that they see, ``by`` positions
        further on. Its keys are this one's turned by as much, its values are this one's: only distances count. (One of
        a weave sees what is written beside it, and that is not said over again.)"""
        assert self.weave is None
        view = View(piece.moved(by) for piece in self.view)
        return Span(self.position + by, view, self.tokens[:stop], id, stop, self.voice)


class Together(Protocol):
    """Spans that see each other, and can only be computed together: a weave (``weave.py``)."""

    spans: tuple[Span, ...]
    common: int
    positions: str
    end: int

    @property
    def index(self) -> int: ...

    def sees(self, span: Span, stop: int) -> list[Piece]: ...

    def ahead(self, span: Span, stop: int) -> int: ...

    def frozen(self, span: Span) -> tuple[View, int]: ...

    def shared(self, span: Span) -> tuple[Piece, ...]: ...


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


class View:
    """What a branch attends to before its own open span: an ordered, immutable sequence of pieces.

    length  tokens in all
    causal  its KV is that of ordinary causal text
    """

    __slots__ = ("_causal_pieces", "base", "length", "pieces")

    _causal_pieces: int

    def __init__(self, pieces: Iterable[Piece] = (), base: View | None = None) -> None:
        """``base``: what these pieces come after; it is taken as it is, and not looked at again."""
        self.base = base
        before = base.pieces if base else ()
        melted = tuple(_normal(chain(before[-1:], pieces)))
        self.pieces: tuple[Piece, ...] = before[:-1] + melted
        self.length: int = (base.length - len(before[-1]) if base and before else 0) + sum(map(len, melted))
        # How many leading pieces are causal text. A piece neither becomes it nor ceases to be by growing.
        known = base._causal_pieces if base else 0
        self._causal_pieces = known if known < len(before) else _causal(self.pieces, known)

    @property
    def causal(self) -> bool:
        return self._causal_pieces == len(self.pieces)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.pieces == other.pieces

    def __hash__(self) -> int:
        return hash(self.pieces)

    def __repr__(self) -> str:
        return f"View({list(self.pieces)})"

    def __add__(self, pieces: Iterable[Piece]) -> View:
        return View(pieces, self)

    @property
    def tokens(self) -> list[int]:
        return list(chain.from_iterable(piece.tokens for piece in self.pieces))

    @property
    def end(self) -> int:
        """The position after all that is in it."""
        return max((piece.end for piece in self.pieces), default=0)

    @property
    def causal_prefix(self) -> View:
        """The longest head of the view whose KV equals that of ordinary causal text."""
        return self if self.causal else View(self.pieces[: self._causal_pieces])

    def after(self, length: int) -> tuple[Piece, ...]:
        """The pieces beyond the first ``length`` tokens of the flattened view."""
        out: list[Piece] = []
        left = self.length - length  # from the end, since what is asked for lies there
        for piece in reversed(self.pieces):
            if left <= 0:
                break
            out.append(piece if len(piece) <= left else Piece(piece.span, piece.stop - left, piece.stop, piece.shift))
            left -= len(piece)
        return tuple(reversed(out))

    def head(self, length: int) -> View:
        """The first ``length`` tokens of the flattened view."""
        out = []
        for piece in self.pieces:
            if length <= 0:
                break
            out.append(Piece(piece.span, piece.start, min(piece.stop, piece.start + length), piece.shift))
            length -= len(piece)
        return View(out)


def _normal(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Drop empty pieces and melt neighbours that continue each other, so equal views compare equal."""
    last: Piece | None = None
    for piece in pieces:
        if piece.start == piece.stop:
            continue
        if last and last.span is piece.span and last.stop == piece.start and last.shift == piece.shift:
            last = Piece(last.span, last.start, piece.stop, last.shift)
            continue
        if last:
            yield last
        last = piece
    if last:
        yield last


def _causal(pieces: tuple[Piece, ...], known: int) -> int:
    """How many leading pieces are plain causal text at positions 0, 1, 2, ..., if the first ``known`` are.

    A piece fits if nothing moved it, it starts where the text before it ends, and its span was itself
    written causally after exactly that much text.
    """
    length = pieces[known - 1].end if known else 0
    for count in range(known, len(pieces)):
        piece = pieces[count]
        if piece.shift or piece.start or not piece.span.causal or piece.position != length:
            return count
        length += len(piece)
    return len(pieces)

"""A tree as the requests that a completions server would have seen, and these as one training row (ThreadWeaver, arXiv
2512.07843): what their contexts share is there once.

Each request is a context and what the model wrote after it. Put into a trie, token by token, they become a tree of
spans: a token's position is its depth, it sees its ancestors. So ``unroll`` makes the mask, as it does for everything
else, and for a re-prefilling join the row is the one that the engine's own views give (``rows.row``). A trie needs the
text alone: it is the form for rollouts that another engine sampled. It can't tell what a stitched branch has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..kv.span import Span, View
from ..kv.unroll import unroll
from .rollouts import Place, Unit
from .rows import Row


@dataclass(frozen=True)
class Request:
    """``context`` went in, ``written`` came out, with the ``logprobs`` that the server reported."""

    context: tuple[int, ...]
    written: tuple[int, ...]
    logprobs: tuple[float, ...]


def requests(root: Unit) -> list[Request]:
    """What was asked and answered, in the order of the tree. Raises ValueError for a tree that was not watched, or of
    which something was stitched."""
    out = []
    for unit in root:
        if not unit.written:
            continue
        if not unit.places:
            raise ValueError(f"{len(unit.written)} tokens were written nobody knows where: the tree was not watched")
        span, first = unit.places[0]
        if not span.causal:
            raise ValueError(f"{span} stands on stitched text: its tokens alone do not say what it saw")
        out.append(Request((*span.view.tokens, *span.tokens[:first]), unit.written, unit.logprobs))
    return out


def trie(asked: Sequence[Request]) -> Row:
    """One row of all requests, a common beginning of two of them once. Each written token counts once, also where
    another request has read it; where two requests wrote the same after the same, both count. Raises ValueError if
    nothing was written, or a context is empty."""
    if not any(request.written for request in asked):
        raise ValueError(f"nothing was written in {len(asked)} requests: they give no training row")
    paths: list[View] = []
    for request in asked:
        if not request.context:
            raise ValueError("a request has an empty context: there is no token after which to write")
        text = [*request.context, *request.written]
        shared = max((path.head(_common(path.tokens, text)) for path in paths), key=len, default=View())
        paths.append(shared + [Span(len(shared), shared, text[len(shared) :]).whole()])
    dense = unroll([(path, Span(len(path), path)) for path in paths])
    before, sampled = list[int](), list[int]()
    for request, path in zip(asked, paths, strict=True):
        at = [dense.index(*place) for place in _places(path)]
        before += at[len(request.context) - 1 : -1]
        sampled += request.written
    logprobs = [p for request in asked for p in request.logprobs]
    return Row(dense, torch.tensor(before), torch.tensor(sampled), torch.tensor(logprobs, dtype=torch.float64))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _places(view: View) -> list[Place]:
    return [(piece.span, piece.start + i) for piece in view for i in range(len(piece))]

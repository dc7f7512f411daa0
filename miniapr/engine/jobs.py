"""The pieces of work that a step is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..kv.span import Span, Together, View
from .branch import Branch
from .request import Request


class Job(NamedTuple):
    """Compute tokens ``start:stop`` of a span under its view; ``branch``: whose open span it is, if one's.

    Of a span in a weave: indices ``start:stop`` of all its members, until it is told which of their tokens these are
    (``together``).
    """

    request: Request
    span: Span
    view: View
    start: int
    stop: int
    branch: Branch | None


def of_weaves(request: Request, wanted: Mapping[Together, int]) -> Iterator[Job]:
    """The indices of each weave that can be computed, up to the one that is wanted: not yet those at which a member
    that decodes has no token, for the others will see it."""
    decoding = {branch.span: len(branch.span.tokens) for branch in request.living if branch.goal}
    for weave, last in wanted.items():
        stop = min([last, *(decoding[span] for span in weave.spans if span in decoding)])
        if (start := begun(weave, stop)) < stop:
            yield Job(request, weave.spans[0], weave.spans[0].view, start, stop, None)


def begun(weave: Together, stop: int) -> int:
    """The first index before ``stop`` of which something is not there; ``stop`` if there is none."""
    return min([stop, *(span.written for span in weave.spans if span.written < min(stop, len(span.tokens)))])


def together(job: Job, budget: int, block_size: int) -> list[Job]:
    """The tokens of all members of a weave that fit into ``budget`` rows, by whole indices, one at least: the rows of
    an index belong to one pass, for they see each other. What is restored is so by whole blocks (``Residency``)."""
    request, weave = job.request, job.span.weave
    assert weave is not None
    stop = min(job.stop, job.start + max(1, budget // len(weave.spans)))
    if not request.held:
        stop = min(job.stop, max(stop // block_size, job.start // block_size + 1) * block_size)
    branches = {branch.span: branch for branch in request.holders} if request.held else {}
    ends = [(span, min(stop, len(span.tokens))) for span in weave.spans]
    return [
        Job(request, span, span.view, span.written, end, branches.get(span)) for span, end in ends if span.written < end
    ]

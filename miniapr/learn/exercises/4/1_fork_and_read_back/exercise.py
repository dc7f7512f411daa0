"""A fork that copies nothing."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Span:
    """What one branch wrote, from this position on."""

    position: int
    tokens: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Branch:
    """Sees the sealed spans of its view, in order, then its own open span."""

    view: tuple[Span, ...]
    open: Span


def fork(branch: Branch, k: int) -> list[Branch]:
    """k children that see all that the branch has seen and written."""
    # <solution>
    view = (*branch.view, branch.open) if branch.open.tokens else branch.view
    position = branch.open.position + len(branch.open.tokens)
    branch.view, branch.open = view, Span(position)
    return [Branch(view, Span(position)) for _ in range(k)]
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def text(branch: Branch) -> list[int]:
    """All that a branch sees and has written, in order."""
    # <solution>
    return [token for span in (*branch.view, branch.open) for token in span.tokens]
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def shared(a: Branch, b: Branch) -> int:
    """How many tokens two branches have in common in memory."""
    # <solution>
    return sum(len(span.tokens) for span in a.view if any(span is other for other in b.view))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

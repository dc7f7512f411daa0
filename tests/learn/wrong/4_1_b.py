"""The parent goes on writing to the span that its children see."""

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
    view = (*branch.view, branch.open) if branch.open.tokens else branch.view
    position = branch.open.position + len(branch.open.tokens)
    return [Branch(view, Span(position)) for _ in range(k)]


def text(branch: Branch) -> list[int]:
    """All that a branch sees and has written, in order."""
    return [token for span in (*branch.view, branch.open) for token in span.tokens]


def shared(a: Branch, b: Branch) -> int:
    """How many tokens two branches have in common in memory."""
    return sum(len(span.tokens) for span in a.view if any(span is other for other in b.view))

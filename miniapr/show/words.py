"""What one sees, in sentences made from the numbers."""

from __future__ import annotations

from ..methods.compare import Joined
from .report import Report, Spent

TITLES = {
    "stitch": "stitch",
    "stitch_contiguous": "stitch contiguous",
    "stitch_copied": "stitch copied",
    "reprefill": "re-prefill",
}


def see_joins(report: Report) -> list[str]:
    """What the joins did, what it cost, and whether it mattered."""
    joins = report.comparison.joins
    sentences = []
    if {"stitch", "reprefill"} <= joins.keys():
        sentences.append(stitch_and_reprefill(joins["stitch"], joins["reprefill"]))
        sentences += how_far(joins["stitch"])
    if {"stitch_contiguous", "stitch_copied"} <= joins.keys():
        no_room = any(event.kind == "fallback" for event in report.events)
        sentences.append(turned_and_copied(joins["stitch_contiguous"], joins["stitch_copied"], no_room))
    if len(joins) > 1:
        sentences.append(_answers(report))
    return sentences


def stitch_and_reprefill(stitch: Joined, again: Joined) -> str:
    """Of tokens only: each join is timed once, and that says little. Medians are in docs/performance.md."""
    return (
        f"Stitch recomputed {_tokens(stitch.tokens_recomputed)} and took over {stitch.tokens_reused}; re-prefill "
        f"recomputed {again.tokens_recomputed} and took over {again.tokens_reused}."
    )


def how_far(stitch: Joined) -> list[str]:
    """Nothing where it was not measured."""
    if stitch.kl_to_reprefill is None or stitch.top1_agrees is None:
        return []
    same = f"the same likeliest token {100 * stitch.top1_agrees:.0f} % of the time"
    return [f"Along re-prefill's conclusion, stitch is {stitch.kl_to_reprefill:.2g} nats a token from it, with {same}."]


def turned_and_copied(turned: Joined, copied: Joined, no_room: bool) -> str:
    if no_room:
        return "The pool had no room for copies: stitch copied turned the query instead, like stitch contiguous."
    if not copied.bytes_moved:
        return f"Nothing had to move for contiguous positions ({turned.position} next)."
    same = "the same text" if turned.text == copied.text else "another text"
    return (
        f"Contiguous positions ({turned.position} next) by turning the query moved {turned.bytes_moved:,} bytes; by "
        f"copying, {copied.bytes_moved:,} bytes moved and {copied.keys_shifted} keys turned led to {same}."
    )


def _answers(report: Report) -> str:
    right = [TITLES[how] for how, joined in report.comparison.joins.items() if report.verdict(joined.text).correct]
    count = len(report.comparison.joins)
    if len(right) == count:
        return f"All {count} joins led to a correct answer."
    if not right:
        what = "no solution exists" if report.solution is None else "the model did not find one"
        return f"None of the {count} joins led to a correct answer: {what}."
    return f"{len(right)} of {count} joins led to a correct answer: {', '.join(right)}."


def see_cost(report: Report, spent: Spent) -> list[str]:
    """The fork against one long line of thought."""
    result, line = report.comparison, report.sequential
    if line is None or not result.joins:
        return []
    path = (
        f"On this problem {_tokens(result.critical_path)} had to be decoded one after the other with the fork, "
        f"without it {line.critical_path}"
    )
    first = next(iter(result.joins.values()))
    right = {"the fork": report.verdict(first.text).correct, "the line": report.verdict(line.text).correct}
    if not all(right.values()):
        who = next((f"Only {who}" for who, ok in right.items() if ok), "Neither")
        return [path + ".", f"{who} led to a correct answer, so which of the two is shorter says nothing."]
    if not result.critical_path or not line.total_tokens:
        return [path + "."]
    share, total = line.critical_path / result.critical_path, result.total_tokens / line.total_tokens
    change = f"{_times(share)} shorter" if share >= 1 else f"{_times(1 / share)} longer"
    passes = f"{spent.steps} forward passes instead of {line.steps}"
    return [f"{path}: {change}, in {passes}. In all it decoded {_times(total, 2)} as many tokens."]


def _tokens(count: int) -> str:
    return "no token" if count == 0 else "1 token" if count == 1 else f"{count} tokens"


def _times(ratio: float, digits: int = 1) -> str:
    return f"{ratio:.{digits}f} times"

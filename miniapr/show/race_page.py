"""A race as a page: the table, the picture, and the first problem by every method, to step through."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

from ..methods.race import FRONTIERS, Row, frontier
from ..stepper.engine import for_runs
from ..stepper.page import document
from ..stepper.trace import Trace
from .race_plot import plot

COSTS = {
    "decoded": "decoded",
    "critical": "critical path",
    "largest_context": "largest context",
    "prefilled": "prefilled",
    "recomputed": "again",
    "reused": "reused",
    "resent": "a client sends",
    "saved": "saved",
    "most_blocks": "blocks",
    "passes": "passes",
}


def page(rows: Sequence[Row], traces: Mapping[str, Trace], title: str, note: str) -> str:
    """``rows``: at least one. ``traces``: by the names of the methods; they are read from a list on the page."""
    titles = ["method", "right", "95 %", "judge", *COSTS.values(), "ms"]
    head = "".join(f"<th scope=col>{title}</th>" for title in titles)
    best = {cost: frontier(rows, cost) for cost in FRONTIERS}
    body = "".join(f"<tr>{_cells(row, [cost for cost in best if row.name in best[cost]])}</tr>" for row in rows)
    picture = io.BytesIO()
    plot(rows, picture, title)
    source = "data:image/svg+xml;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
    said = "Share right against the critical path, and against all decoded tokens; the table above has the numbers."
    before = f"<div class=wide tabindex=0><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    before += f'<figure><img alt="{said}" src="{source}"></figure><p>{html.escape(note)}</p>'
    data = {name: trace.data for name, trace in traces.items()}
    return document(title, data, before, engine=for_runs(run for trace in traces.values() for run in trace.runs))


def _cells(row: Row, stars: Sequence[str]) -> str:
    """``stars``: costs on whose frontier it is."""
    low, high = row.interval
    costs = row.costs
    cells = [f"{100 * row.accuracy:.0f} %", f"{100 * low:.0f} to {100 * high:.0f}", row.judge]
    cells += [f"{costs[name]:,.0f}{' *' * (name in stars)}" for name in COSTS]
    cells.append(f"{1000 * costs['seconds']:,.0f}")
    name = f"<th scope=row>{html.escape(row.name)}</th>"
    return name + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)

"""A trace: the events of one run, or of several side by side, and all that is needed to draw them without the engine.

    trace = Trace.of(engine, title="stitch") | Trace.of(other, title="re-prefill")
    trace.save("run.json")
    trace.to_html("run.html")

In a notebook a trace shows itself.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..engine.events import VERSION, Event
from .page import page
from .schema import check

if TYPE_CHECKING:
    from ..engine.engine import Engine

HEIGHT = 820  # pixels of a trace in a notebook: from 700 wide on, the mask is in sight


class Trace:
    """``data``: {"miniapr_trace": version, "runs": [{"title", "about", "events"}, ...]}, as it is written to a file.

    about    ``texts`` {token id: text}, ``block_size`` (tokens), ``blocks`` (in the pool), ``block_bytes``
    outcome  if it is known what the run came to: ``answer`` (None: none), ``verdict`` and ``judge`` in words ("":
             nobody says), ``right``
    Immutable. Raises ValueError for data that is not a trace of this version, naming the place.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        check(data, VERSION)
        self.data = data

    @classmethod
    def of(
        cls,
        engine: Engine,
        title: str = "",
        events: Iterable[Event] | None = None,
        outcome: Mapping[str, Any] | None = None,
    ) -> Trace:
        """What an engine with ``record=True`` has done so far (or the given part of it). ``outcome``: see above."""
        if not engine.record:
            raise ValueError("the engine keeps no events: make it with record=True")
        told = [asdict(event) for event in (engine.events if events is None else events)]
        pool = engine.pool
        about = {
            "texts": {str(id): engine.tokenizer.decode([id]) for id in sorted(token_ids(told))},
            "block_size": pool.block_size,
            "blocks": len(pool),
            "block_bytes": pool.bytes_per_block,
        }
        # Through JSON and back: what is drawn live is then what a file would hold.
        known = {} if outcome is None else {"outcome": dict(outcome)}
        run = json.loads(json.dumps({"title": title, "about": about, "events": told} | known))
        return cls({"miniapr_trace": VERSION, "runs": [run]})

    def __or__(self, other: Trace) -> Trace:
        """Side by side, to be stepped through together."""
        return Trace({**self.data, "runs": [*self.runs, *other.runs]})

    @property
    def runs(self) -> Sequence[Mapping[str, Any]]:
        runs: Sequence[Mapping[str, Any]] = self.data["runs"]
        return runs

    def __repr__(self) -> str:
        told = ", ".join(f"{run['title'] or 'run'}: {len(run['events'])} events" for run in self.runs)
        return f"Trace({told})"

    def save(self, path: str | Path) -> None:
        Path(path).write_text(json.dumps(self.data), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Raises ValueError for a file that is not a trace, naming the place."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path} is not a trace: {error}") from error
        try:
            return cls(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @overload
    def to_html(self, path: None = None, step: int | None = None, engine: str = "") -> str: ...
    @overload
    def to_html(self, path: str | Path, step: int | None = None, engine: str = "") -> None: ...
    def to_html(self, path: str | Path | None = None, step: int | None = None, engine: str = "") -> str | None:
        """One page that needs no network, opened at ``step`` (counted from 0; None: the beginning). Written to
        ``path``; without one, returned: a notebook would print whatever is returned. ``engine``: what a page needs to
        think by itself, ``miniapr.stepper.engine.for_runs(trace.runs)`` (2.5 MB more)."""
        text = page(self.data, step, engine)
        if path is None:
            return text
        Path(path).write_text(text, encoding="utf-8")
        return None

    def _repr_html_(self) -> str:
        """For notebooks: a frame of its own, which also survives the export of a notebook to a page."""
        return (
            f'<iframe srcdoc="{html.escape(self.to_html())}" title="miniapr stepper" loading="lazy" '
            f'style="width: 100%; height: {HEIGHT}px; border: 0"></iframe>'
        )


def token_ids(events: Iterable[Mapping[str, Any]]) -> set[int]:
    """Every token that the events speak of."""
    found: set[int] = set()
    for event in events:
        data = event["data"]
        for part in (data, *(data.get("children") or () if event["kind"] == "forked" else ())):
            found.update(part.get("tokens") or ())
        if event["kind"] == "decoded":
            found.add(data["token"])
    return found

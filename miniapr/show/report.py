"""What came of the main job, as data: for the terminal and as the object that ``--json`` prints."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ..engine.events import Event
from ..methods.compare import Comparison
from ..players import Game
from ..players.game import Gloss
from ..tasks.countdown import Problem, Verdict, verify

JOINED = (
    "position",
    "tokens_recomputed",
    "tokens_reused",
    "bytes_moved",
    "keys_shifted",
    "seconds",
    "kl_to_reprefill",
    "top1_agrees",
    "text",
)


@dataclass(frozen=True)
class Sequential:
    """The same model on the same problem without a fork. ``steps`` are forward passes."""

    text: str
    correct: bool
    critical_path: int
    total_tokens: int
    steps: int
    seconds: float


@dataclass
class Report:
    """Filled in while the job runs; whatever is missing at the end was interrupted.

    game         how the model is asked, and its words are read
    solution     of the exact solver; None: there is none
    model        name, parameters, backend, threads
    sequential   None: it did not get that far
    events       of the engine
    """

    problem: Problem
    game: Game
    solution: str | None
    model: dict[str, Any]
    comparison: Comparison = field(default_factory=Comparison)
    sequential: Sequential | None = None
    interrupted: bool = False
    events: list[Event] = field(default_factory=list)

    @property
    def forked(self) -> bool:
        return self.comparison.fork_position is not None

    def answer(self, text: str) -> str | None:
        """What a conclusion answers."""
        return self.game.player.answer(self.game.put(self.problem), text, "adaptive")

    def verdict(self, text: str) -> Verdict:
        """What the exact verifier says about a conclusion."""
        return verify(self.answer(text), self.problem)

    def gloss(self, text: str) -> Gloss | None:
        """How the first step of a text is to be read."""
        return self.game.gloss(self.game.put(self.problem), text)

    def as_dict(self) -> dict[str, Any]:
        """The object that ``--json`` prints; its keys are fixed."""
        result = self.comparison
        joins = {}
        for how, joined in result.joins.items():
            shown = {name: getattr(joined, name) for name in JOINED}
            joins[how] = {**shown, "correct": self.verdict(joined.text).correct}
        answer = None if self.forked else self.verdict(result.before).correct
        return {
            "problem": {
                "numbers": list(self.problem.numbers),
                "target": self.problem.target,
                "solvable": self.solution is not None,
                "solution": self.solution,
            },
            "model": {**self.model, "wrote": result.before, "correct": answer},
            "fork": self._fork(),
            "joins": joins,
            "critical_path": result.critical_path,
            "total_tokens": result.total_tokens,
            "sequential": asdict(self.sequential) if self.sequential else None,
            "interrupted": self.interrupted,
        }

    def _fork(self) -> dict[str, Any] | None:
        if not self.forked:
            return None
        result = self.comparison
        return {
            "position": result.fork_position,
            "width": len(result.threads),
            "branches": [asdict(thread) for thread in result.threads],
            "before": result.before,
        }

    def as_json(self) -> str:
        """As text. What is not a finite number becomes null: JSON has no word for it."""
        return json.dumps(_finite(self.as_dict()), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Spent:
    """Forward passes and the seconds in them."""

    steps: int
    seconds: float


def spent_until_first_answer(events: Sequence[Event]) -> Spent:
    """What the first join's answer took, the other joins left out: all passes until its branch was let go."""
    children = {child["branch"] for e in events if e.kind == "forked" for child in e.data["children"]}
    first = next((e.branch for e in events if e.kind == "joined" and e.branch not in children), None)
    spent = Spent(0, 0.0)
    for event in events:
        if event.kind == "step":
            spent = replace(spent, steps=spent.steps + 1, seconds=spent.seconds + event.data["seconds"])
        elif event.kind in ("released", "finished") and event.branch == first:
            break
    return spent

"""What the server did and does, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ..engine.engine import Engine
from ..engine.events import Event

# name -> what it counts; a join's kind and an HTTP status are labels
COUNTERS = {
    "requests_total": "Requests that ended, by how.",
    "responses_total": "HTTP answers, by status.",
    "decoded_tokens_total": "Tokens sampled.",
    "computed_tokens_total": "Tokens whose keys and values were computed: prompts, sampled ones, joined text again.",
    "prefix_hits_total": "Prompts that began with a cached prefix.",
    "prefix_hit_tokens_total": "Prompt tokens taken from the prefix cache.",
    "forks_total": "Forks.",
    "forked_branches_total": "Branches that forks made.",
    "joins_total": "Joins, by kind.",
    "joined_tokens_reused_total": "Tokens whose keys and values a join took over as they were.",
    "joined_tokens_recomputed_total": "Tokens that a join had computed again.",
    "preemptions_total": "Requests that gave up their blocks for others.",
    "steps_total": "Forward passes.",
    "step_seconds_total": "Seconds in steps.",
}


class Metrics:
    """Counters, made from the engine's events alone; gauges are read when somebody asks."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()  # (name, label) -> value

    def add(self, name: str, value: float = 1, label: str = "") -> None:
        self.counts[name, label] += value  # type: ignore[assignment]

    def answered(self, status: int) -> None:
        self.add("responses_total", label=f'{{status="{status}"}}')

    def count(self, events: Iterable[Event]) -> None:
        for event in events:
            data = event.data
            match event.kind:
                case "decoded":
                    self.add("decoded_tokens_total")
                case "computed":
                    self.add("computed_tokens_total", data["stop"] - data["start"])
                case "cached":
                    self.add("prefix_hits_total")
                    self.add("prefix_hit_tokens_total", data["cached"])
                case "forked":
                    self.add("forks_total")
                    self.add("forked_branches_total", len(data["children"]))
                case "joined":
                    self.add("joins_total", label=f'{{kind="{data["how"]}"}}')
                    self.add("joined_tokens_reused_total", data["reused"])
                    self.add("joined_tokens_recomputed_total", data["recomputed"])
                case "preempted":
                    self.add("preemptions_total")
                case "step":
                    self.add("steps_total")
                    self.add("step_seconds_total", data["seconds"])
                case "finished" | "failed" | "aborted" if event.branch is None:
                    self.add("requests_total", label=f'{{state="{event.kind}"}}')

    def text(self, gauges: dict[str, float]) -> str:
        return "\n".join((*self._counters(), *_gauges(gauges))) + "\n"

    def _counters(self) -> Iterator[str]:
        for name, meaning in COUNTERS.items():
            yield f"# HELP miniapr_{name} {meaning}"
            yield f"# TYPE miniapr_{name} counter"
            found = sorted((label, value) for (known, label), value in list(self.counts.items()) if known == name)
            for label, value in found or [("", 0)]:
                yield f"miniapr_{name}{label} {value:g}" if value < 1e6 else f"miniapr_{name}{label} {value:.0f}"


def _gauges(gauges: dict[str, float]) -> Iterator[str]:
    for name, value in gauges.items():
        yield f"# TYPE miniapr_{name} gauge"
        yield f"miniapr_{name} {value:.10g}"


def read_gauges(engine: Engine) -> dict[str, float]:
    """Must be called where the engine holds still."""
    requests = engine.scheduler.requests.values()
    running = [request for request in requests if request.resident]
    waiting = [request for request in requests if not request.resident]
    cached = engine.kv.reclaimable
    return {
        "running_requests": len(running),
        "waiting_requests": len(waiting),
        "running_branches": sum(branch.decoding or branch.span.behind > 0 for r in running for branch in r.alive),
        "waiting_branches": sum(len(request.alive) for request in waiting),
        "pool_blocks": len(engine.pool),
        "pool_blocks_free": engine.pool.free,
        "pool_blocks_cached": cached,
        "pool_blocks_used": len(engine.pool) - engine.pool.free - cached,
        "prefixes_evicted": engine.kv.evictions,
    }

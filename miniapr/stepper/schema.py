"""What a trace must be, so that whoever draws one need not doubt it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Rule = Callable[[Any], bool]


def number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)


def whole(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def text(x: Any) -> bool:
    return isinstance(x, str)


def listed(rule: Rule) -> Rule:
    return lambda x: isinstance(x, list) and all(map(rule, x))


def row(*rules: Rule) -> Rule:
    return lambda x: isinstance(x, list) and len(x) == len(rules) and all(r(y) for r, y in zip(rules, x, strict=True))


def record(**rules: Rule) -> Rule:
    return lambda x: isinstance(x, dict) and all(name in x and rule(x[name]) for name, rule in rules.items())


SPAN: dict[str, Rule] = {"span": whole, "position": whole, "tokens": listed(whole)}
GROWN = SPAN | {"view": listed(row(whole, whole, whole, whole))}
KINDS: dict[str, dict[str, Rule]] = {
    "submitted": {},
    "admitted": {},
    "started": GROWN,
    "cached": GROWN | {"cached": whole},
    "extended": {"tokens": listed(whole)},
    "sealed": GROWN,
    "computed": {"span": whole, "start": whole, "stop": whole, "blocks": listed(whole)},
    "decoded": {"token": whole, "text": text, "logprob": number},
    "stopped": {"reason": text},
    "waited": {"critical": whole},
    "scored": {"score": number},
    "forked": {"children": listed(record(branch=whole, **GROWN)), "position": whole},
    "woven": {"members": listed(record(branch=whole, **GROWN)), "common": whole, "positions": text},
    "copied": SPAN | {"source": whole, "turn": whole, "blocks": listed(whole)},
    "joined": GROWN
    | {"parent": whole, "children": listed(whole), "how": text}
    | dict.fromkeys(("recomputed", "reused", "bytes_moved", "keys_shifted"), whole),
    "fallback": {},
    "merged": {},
    "released": {},
    "ended": {},
    "aborted": {},
    "preempted": {},
    "finished": {},
    "failed": {},
    "step": {"rows": whole, "seconds": number},
    "pool": {"refs": lambda x: isinstance(x, dict) and all(k.isdigit() and whole(n) for k, n in x.items())},
}
OPTIONAL: dict[str, Rule] = {  # "read" is not in older traces
    "alternatives": listed(row(whole, number, text)),
    "read": whole,
    "visits": whole,
}
OF_A_BRANCH = frozenset([
    "started", "cached", "extended", "sealed", "decoded", "stopped", "waited", "scored", "forked", "joined", "merged",
    "released", "ended",
])  # fmt: skip
OUTCOME: dict[str, Rule] = {
    "answer": lambda x: x is None or text(x),
    "verdict": text,
    "right": lambda x: isinstance(x, bool),
    "judge": text,
}
ABOUT: dict[str, Rule] = {
    "texts": lambda x: isinstance(x, dict) and all(map(text, x.values())),
    "block_size": lambda x: whole(x) and x > 0,
    "blocks": whole,
    "block_bytes": whole,
}


def check(data: Any, version: int) -> None:
    """Raises ValueError that names the first place where ``data`` is not a trace of this version."""
    if not isinstance(data, Mapping) or "miniapr_trace" not in data:
        raise ValueError('not a trace: there is no "miniapr_trace"')
    if data["miniapr_trace"] != version:
        raise ValueError(f"a trace of version {data['miniapr_trace']!r}, this is version {version}")
    runs = data.get("runs")
    if not isinstance(runs, list) or not runs:
        raise ValueError("runs is not a list with at least one run")
    for i, run in enumerate(runs):
        place = f"runs[{i}]"
        if not record(title=text, about=record(), events=listed(record()))(run):
            raise ValueError(f'{place} lacks "title", "about" or "events"')
        _fields(run["about"], ABOUT, f"{place}.about")
        if "outcome" in run:
            if not record()(run["outcome"]):
                raise ValueError(f"{place}.outcome is {str(run['outcome'])[:80]!r}: not what it should be")
            _fields(run["outcome"], OUTCOME, f"{place}.outcome")
        if not any(event.get("kind") == "started" for event in run["events"]):
            raise ValueError(f"{place} starts no branch: there is nothing to draw")
        step = 0
        for j, event in enumerate(run["events"]):
            step = _event(event, step, f"{place}.events[{j}]")


def _event(event: Mapping[str, Any], step: int, place: str) -> int:
    kind, data = event.get("kind"), event.get("data")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{place} is of kind {kind!r}, which does not exist")
    if not whole(event.get("step")) or event["step"] < step:
        raise ValueError(f"{place}.step is {event.get('step')!r} after {step}")
    if kind in OF_A_BRANCH and not whole(event.get("branch")):
        raise ValueError(f"{place}.branch is {event.get('branch')!r}: {kind} is said of a branch")
    if not isinstance(data, dict):
        raise ValueError(f"{place}.data is missing")
    _fields(data, KINDS[kind] | {name: rule for name, rule in OPTIONAL.items() if name in data}, f"{place}.data")
    return int(event["step"])


def _fields(data: Mapping[str, Any], rules: Mapping[str, Rule], place: str) -> None:
    for name, rule in rules.items():
        if name not in data:
            raise ValueError(f"{place}.{name} is missing")
        if not rule(data[name]):
            raise ValueError(f"{place}.{name} is {str(data[name])[:80]!r}: not what it should be")

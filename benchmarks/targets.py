"""What the project set out to reach, and whether the figures say that it did. All from data, one list."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Sections = Mapping[str, Any]


@dataclass(frozen=True)
class Target:
    """``value(sections)`` must be at most (<=, <) or at least (>=, >) ``limit``. ``unit``: "x", "%", "bytes",
    "tokens/s"."""

    group: str
    text: str
    sense: str
    limit: float
    unit: str
    value: Callable[[Sections], float]


@dataclass(frozen=True)
class Verdict:
    """``value`` is None where nothing was measured; ``met`` then too."""

    target: Target
    value: float | None
    met: bool | None


def judge(sections: Sections) -> list[Verdict]:
    return [_judge(target, sections) for target in TARGETS]


def _judge(target: Target, sections: Sections) -> Verdict:
    try:
        value = target.value(sections)
    except LookupError:  # the section, the row or the peer is not there
        return Verdict(target, None, None)
    compare = {"<=": value <= target.limit, "<": value < target.limit}
    compare |= {">=": value >= target.limit, ">": value > target.limit}
    return Verdict(target, value, compare[target.sense])


def find(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    """The row with these values. Raises LookupError if there is none."""
    for row in rows:
        if all(row.get(name) == value for name, value in wanted.items()):
            return row
    raise LookupError(f"nothing was measured for {wanted}")


def step(sections: Sections, size: str, branches: int, dtype: str = "float32", prefix: int = 1024) -> dict[str, Any]:
    return find(sections[f"steps {size}"]["rows"], dtype=dtype, prefix=prefix, branches=branches)


CONTESTANTS = ("model", "torch", "transformers", "paged", "sdpa", "linear")


def floors(sections: Sections) -> list[dict[str, Any]]:
    """All rows that have a floor."""
    datas = [data for data in sections.values() if isinstance(data, dict)]
    parts = [part for data in datas for part in (data, *data.values()) if isinstance(part, dict)]
    return [row for part in parts for row in part.get("rows", ()) if "floor" in row]


def beaten(sections: Sections) -> list[str]:
    """Rows in which somebody took less than the floor, which then is none: what was read must be measured better."""
    found = []
    for section, data in sections.items():
        for row in floors({section: data}):
            for who in (who for who in CONTESTANTS if row.get(who) and row[who]["median"] < row["floor"]):
                where = ", ".join(
                    f"{name} {row[name]}" for name in ("dtype", "prefix", "branches", "layer", "rows") if name in row
                )
                found.append(f"{section} ({where}): {who} takes {row[who]['median'] / row['floor']:.2f} of the floor")
    return found


def over_floor(size: str, branches: int) -> Callable[[Sections], float]:
    def value(sections: Sections) -> float:
        row = step(sections, size, branches)
        return float(row["model"]["median"] / row["floor"])

    return value


def faster_than(peer: str, branches: int, section: str = "steps M") -> Callable[[Sections], float]:
    def value(sections: Sections) -> float:
        row = find(sections[section]["rows"], dtype="float32", prefix=1024, branches=branches)
        return float(row[peer]["median"] / row["model"]["median"])

    return value


def eight_over_one(sections: Sections) -> float:
    return float(step(sections, "M", 8)["model"]["median"] / step(sections, "M", 1)["model"]["median"])


def bfloat16_gain(branches: int) -> Callable[[Sections], float]:
    def value(sections: Sections) -> float:
        wide, narrow = (step(sections, "M", branches, dtype) for dtype in ("float32", "bfloat16"))
        return float(wide["model"]["median"] / narrow["model"]["median"])

    return value


def attention(sections: Sections, branches: int) -> dict[str, Any]:
    return find(sections["attention"]["float32"]["rows"], prefix=4096, branches=branches)


def attention_eight_over_one(sections: Sections) -> float:
    return float(attention(sections, 8)["paged"]["median"] / attention(sections, 1)["paged"]["median"])


def attention_over_sdpa(sections: Sections) -> float:
    row = attention(sections, 8)
    return float(row["sdpa"]["median"] / row["paged"]["median"])


def worst_stitch(sections: Sections) -> float:
    """The dearest stitch by view, at any width and length, in steps."""
    rows = [r for r in sections["joins M"]["rows"] if r["how"] in ("stitch", "stitch_contiguous")]
    return 100 * float(max(row["join"]["median"] / row["step"]["median"] for row in rows))


def copy_and_shift(sections: Sections) -> float:
    """At the length at which it does worst."""
    rows = sections["moves"]["float32"]["rows"]
    return 100 * float(min(row["copy_and_shift"]["of_copy_bandwidth"] for row in rows))


def fork_of_eight(sections: Sections) -> float:
    return 100 * float(max(row["fork"]["median"] / row["step"]["median"] for row in sections["fork"]["rows"]))


def overhead(sections: Sections) -> float:
    row = step(sections, "M", 8)
    return 100 * float(row["overhead"]["median"] / row["model"]["median"])


def many(what: str, temperature: float, problems: int = 256) -> Callable[[Sections], float]:
    def value(sections: Sections) -> float:
        rows = sections["crowd"]["problems"]
        return float(find(rows, problems=problems, temperature=temperature)[what])

    return value


def share(sections: Sections) -> float:
    return 100 * many("engine_share", 0.0)(sections)


def wide(sections: Sections) -> float:
    row = sections["crowd"]["wide"]
    return 100 * float(row["overhead"] / (row["model"] + row["overhead"]))


def never_falls(sections: Sections) -> float:
    """Tokens a second of more problems over those of a quarter as many, where that is least."""
    speeds = [row["tokens_per_second"] for row in sections["crowd"]["problems"] if not row["temperature"]]
    return float(min(after / before for before, after in itertools.pairwise(speeds)))


def grown(sections: Sections) -> float:
    """Memory after all requests over that after a tenth of them."""
    resident = sections["crowd"]["memory"]["resident_mb"]
    return float(resident[-1] / resident[len(resident) // 10])


def kept_trees(sections: Sections) -> float:
    rows = sections["crowd"]["kept"]
    return float(rows[-1]["seconds"] / rows[0]["seconds"])


def gpu(name: str) -> Callable[[Sections], float]:
    return lambda sections: float(sections["gpu"]["targets"][name])


CPU, GPU = "CPU", "GPU"
STEP = "Step of M on a prefix of 1,024"
TARGETS = [
    Target(CPU, f"{STEP}, 1 branch, over its floor", "<=", 1.2, "x", over_floor("M", 1)),
    Target(CPU, f"{STEP}, 8 branches, over its floor", "<=", 1.45, "x", over_floor("M", 8)),
    Target(CPU, f"{STEP}, 8 branches over 1", "<=", 1.3, "x", eight_over_one),
    Target(CPU, f"{STEP}, 1 branch: transformers takes", ">=", 2.4, "x", faster_than("transformers", 1)),
    Target(CPU, f"{STEP}, 8 branches: transformers takes", ">=", 4.0, "x", faster_than("transformers", 8)),
    Target(CPU, f"{STEP}, 1 branch: llama.cpp takes", ">=", 1.0, "x", faster_than("llama.cpp", 1, "peers")),
    Target(CPU, f"{STEP}, 8 branches: llama.cpp takes", ">=", 1.6, "x", faster_than("llama.cpp", 8, "peers")),
    Target(CPU, f"{STEP}, 8 branches: vLLM, eager, takes", ">", 1.0, "x", faster_than("vLLM eager", 8, "peers")),
    Target(CPU, f"{STEP}, 8 branches: vLLM, compiled, takes", ">", 1.0, "x", faster_than("vLLM compiled", 8, "peers")),
    Target(
        CPU, f"{STEP}, 8 branches: onnxruntime-genai takes", ">", 1.0, "x", faster_than("onnxruntime-genai", 8, "peers")
    ),
    Target(CPU, "Step of S on a prefix of 1,024, 1 branch, over its floor", "<=", 1.6, "x", over_floor("S", 1)),
    Target(CPU, "Step of S on a prefix of 1,024, 8 branches, over its floor", "<=", 1.6, "x", over_floor("S", 8)),
    Target(CPU, "Attention on 4,096: 8 shared branches over 1", "<=", 1.7, "x", attention_eight_over_one),
    Target(CPU, "Attention on 4,096, 8 branches: the best SDPA on copies takes", ">=", 6.0, "x", attention_over_sdpa),
    Target(CPU, f"{STEP}, 1 branch: float32 over bfloat16", ">=", 1.6, "x", bfloat16_gain(1)),
    Target(CPU, f"{STEP}, 8 branches: float32 over bfloat16", ">=", 1.6, "x", bfloat16_gain(8)),
    Target(CPU, "Stitch by view, the dearest measured, of a step of M", "<", 10, "%", worst_stitch),
    Target(CPU, "Stitch by copy and shift, of the copy bandwidth", ">=", 60, "%", copy_and_shift),
    Target(CPU, "Fork of 8, of a step of M", "<", 10, "%", fork_of_eight),
    Target(
        CPU, "Fork of 8, bytes moved", "<=", 0, "bytes", lambda s: max(row["bytes_moved"] for row in s["fork"]["rows"])
    ),
    Target(CPU, "Whole engine's overhead, of a step of M with 8 branches", "<", 10, "%", overhead),
    Target(CPU, "256 problems at once, greedy", ">=", 20_000, "tokens/s", many("tokens_per_second", 0.0)),
    Target(CPU, "256 problems at once, temperature 1", ">=", 15_000, "tokens/s", many("tokens_per_second", 1.0)),
    Target(CPU, "256 problems at once: the engine's share", "<=", 50, "%", share),
    Target(CPU, "Step of M, 64 branches: the engine's share", "<=", 10, "%", wide),
    Target(CPU, "Four times as many problems: tokens a second, at worst", ">=", 1.0, "x", never_falls),
    Target(CPU, "A token with 1,600 trees kept, over one with none", "<=", 1.2, "x", kept_trees),
    Target(CPU, "Memory after 10,000 requests, over that after 1,000", "<=", 1.05, "x", grown),
    Target(GPU, "Decode attention, 32 contexts of 8k, of the copy bandwidth", ">=", 85, "%", gpu("contexts")),
    Target(GPU, "Decode attention, 8 branches on one prefix of 32k over 1", "<=", 1.25, "x", gpu("eight_over_one")),
    Target(GPU, "Copy and shift, of the copy bandwidth", ">=", 85, "%", gpu("copy_and_shift")),
    Target(GPU, "Step of M in bfloat16 as a graph, over its floor", "<=", 1.5, "x", gpu("step_over_floor")),
    Target(GPU, "Attention of 8 shared branches: SDPA on copies takes", ">=", 4.0, "x", gpu("sdpa_eight")),
    Target(GPU, "Attention of 1 branch: SDPA takes", ">=", 1.0, "x", gpu("sdpa_one")),
]

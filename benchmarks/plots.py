"""The pictures of docs/performance.md. Every point comes from the figures; units stand at every axis.

Colours are those of Okabe and Ito, which people with any colour vision tell apart; marks differ as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, GREY = "#0072B2", "#6b6b6b"
# name in the figures -> (label, colour, mark)
WHO = {
    "model": ("miniapr, forward pass", OURS, "o"),
    "engine": ("miniapr, whole engine", OURS, "o"),
    "torch": ("PyTorch, KV copies", "#E69F00", "s"),
    "transformers": ("transformers", "#D55E00", "^"),
    "llama.cpp": ("llama.cpp", "#009E73", "D"),
    "onnxruntime-genai": ("onnxruntime-genai", "#CC79A7", "v"),
    "vLLM eager": ("vLLM, eager", "#56B4E9", "P"),
    "vLLM compiled": ("vLLM, compiled", "#56B4E9", "X"),
}
HOW = {
    "reprefill": ("re-prefill", "#D55E00", "^"),
    "stitch_copied": ("stitch, copied and turned", "#E69F00", "s"),
    "stitch_contiguous": ("stitch, contiguous", "#009E73", "D"),
    "stitch": ("stitch", OURS, "o"),
}
STYLE: dict[Any, Any] = {
    "font.size": 13, "axes.titlesize": 14, "axes.titleweight": "bold", "axes.labelsize": 13, "legend.fontsize": 11,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4",
    "axes.axisbelow": True, "lines.linewidth": 2.4, "lines.markersize": 7, "legend.frameon": False,
}  # fmt: skip


def draw(sections: Mapping[str, Any], folder: Path) -> list[str]:
    """Write every picture for which there are figures; returns their names."""
    import matplotlib

    made = []
    for name, (needed, picture) in PICTURES.items():
        if all(section in sections for section in needed):
            with matplotlib.rc_context(STYLE):
                folder.mkdir(parents=True, exist_ok=True)
                picture(sections).savefig(folder / name, metadata={"Software": None})
            made.append(name)
    return made


def _figure(width: float, height: float, **more: Any) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
    return figure, figure.subplots(**more)


def _plain(axis: Any, ticks: Sequence[float]) -> None:
    """Numbers as people write them at these places of a logarithmic axis, and none between."""
    axis.set_ticks(list(ticks), [f"{tick:,.10g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _line(
    axes: Axes, x: Sequence[float], times: Sequence[Mapping[str, float]], label: str, colour: str, mark: str
) -> None:
    """Medians in milliseconds, the quartiles as a band."""
    axes.plot(x, [1e3 * t["median"] for t in times], color=colour, marker=mark, label=label)
    axes.fill_between(
        x, [1e3 * t["low"] for t in times], [1e3 * t["high"] for t in times], color=colour, alpha=0.18, lw=0
    )


def steps(sections: Mapping[str, Any]) -> Figure:
    """Step time of M against branches, one panel for each prefix."""
    rows = [row for row in sections["steps M"]["rows"] if row["dtype"] == "float32"]
    prefixes = sorted({row["prefix"] for row in rows})
    figure, panels = _figure(12.5, 5, ncols=len(prefixes), sharey=True, squeeze=False)
    for axes, prefix in zip(panels[0], prefixes, strict=True):
        part = sorted((row for row in rows if row["prefix"] == prefix), key=lambda row: row["branches"])
        x = [row["branches"] for row in part]
        for who in ("model", "torch", "transformers"):
            if who in part[0]:
                _line(axes, x, [row[who] for row in part], *WHO[who])
        axes.plot(x, [1e3 * row["floor"] for row in part], color=GREY, ls="--", label="floor: bytes / bandwidth")
        axes.set(xscale="log", yscale="log", xlabel="branches", title=f"prefix of {prefix:,} tokens")
        _plain(axes.xaxis, x)
    top = 1e3 * max(row[who]["high"] for row in rows for who in ("torch", "transformers") if who in row)
    axes = panels[0][0]
    axes.set_ylabel("one step, ms (lower is better)")
    axes.set_ylim(5, 1.25 * top)
    _plain(axes.yaxis, [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000) if tick < 1.25 * top])
    figure.suptitle("One token for every branch: model M, 125 M parameters, float32", x=0.01, ha="left", fontsize=16)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def joins(sections: Mapping[str, Any]) -> Figure:
    """Left: from the join to the next logits (S). Right: the join alone, in steps (M)."""
    figure, (left, right) = _figure(12.5, 5.2, ncols=2)
    small, big = sections["joins S"], sections["joins M"]
    width = max(row["branches"] for row in small["rows"] if row["branches"] <= 8)
    for how, style in HOW.items():
        part = [row for row in small["rows"] if row["how"] == how and row["branches"] == width]
        _line(left, [row["tokens"] for row in part], [row["to_logits"] for row in part], *style)
        share = [row for row in big["rows"] if row["how"] == how]
        if share and how != "reprefill":  # which costs nothing itself: all of it is in the passes after it
            x, y = [r["tokens"] for r in share], [100 * r["join"]["median"] / r["step"]["median"] for r in share]
            right.plot(x, y, color=style[1], marker=style[2])
    left.set(xscale="log", yscale="log", ylabel="to the next token's logits, ms")
    left.set_title(f"S, {width} branches: how long until it goes on", loc="left")
    right.set(xscale="log", yscale="log", ylabel="the join alone, % of a step")
    right.set_title("M, 8 branches: a stitch without the step after it", loc="left")
    right.axhline(10, color=GREY, ls="--")
    right.text(max(row["tokens"] for row in big["rows"]), 8.2, "a tenth of a step", color=GREY, fontsize=12, ha="right")
    right.set_ylim(0.7, 150)
    one = [row for row in small["rows"] if row["how"] == "stitch" and row["branches"] == width]
    x, y = [row["tokens"] for row in one], [1e3 * row["step"]["median"] for row in one]
    left.plot(x, y, color=GREY, ls="--", label="a step, for comparison")
    for axes, rows in ((left, small["rows"]), (right, big["rows"])):
        axes.set_xlabel("tokens in each branch")
        _plain(axes.xaxis, sorted({row["tokens"] for row in rows}))
    _plain(left.yaxis, [1, 2, 5, 10, 20, 50, 100, 200, 500])
    _plain(right.yaxis, [1, 2, 5, 10, 20, 50, 100])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def peers(sections: Mapping[str, Any]) -> Figure:
    """Bars: a step of M at 1 and at 8 branches, everybody on the same weights."""
    data = sections["peers"]
    names = [name for name in WHO if any(name in row for row in data["rows"])]
    figure, panels = _figure(12.5, 0.9 + 0.55 * len(names), ncols=len(data["rows"]), sharey=True, squeeze=False)
    for axes, row in zip(panels[0], data["rows"], strict=True):
        for y, name in enumerate(names):
            if name not in row:
                continue
            value, spread = 1e3 * row[name]["median"], row[name]
            colour = {"model": OURS, "engine": "#7fb4d6"}.get(name, "#b9c4cc")
            error = [[value - 1e3 * spread["low"]], [1e3 * spread["high"] - value]]
            axes.barh(y, value, color=colour, xerr=error, error_kw={"ecolor": "#333333", "lw": 1.2}, height=0.72)
            axes.text(1e3 * spread["high"], y, f"  {value:.1f}", va="center", fontsize=12)
        axes.axvline(1e3 * row["floor"], color="black", ls="--", lw=1.6)
        axes.text(1e3 * row["floor"], -0.62, "floor", ha="center", va="bottom", fontsize=11)
        count = "1 branch" if row["branches"] == 1 else f"{row['branches']} branches that share the prefix"
        axes.set_title(count, loc="left", pad=18)
        axes.set_xlabel("one step, ms")
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.14e3 * max(row[name]["high"] for name in names if name in row))
    panels[0][0].set_yticks(range(len(names)), [WHO[name][0] for name in names])
    panels[0][0].set_ylim(len(names) - 0.5, -0.65)
    figure.suptitle(
        f"M in float32, a prefix of {data['prefix']:,} tokens, {data['threads']} threads, same weights, same rounds",
        x=0.01, ha="left", fontsize=15,
    )  # fmt: skip
    return figure


def roofline(sections: Mapping[str, Any]) -> Figure:
    """Arithmetic done against bytes that must be read, under the two roofs measured here."""
    figure, axes = _figure(11, 6.2)
    attention = [row for row in sections["attention"]["float32"]["rows"] if row["prefix"] == 4096]
    linear = [row for row in sections["linear"]["float32"]["rows"] if row["layer"] == "head"]
    read, peak = max(attention[0]["read"], linear[0]["read"]), max(sections["peak"].values())
    ridge, ends = peak / read, [0.25, 64]
    axes.plot([ends[0], ridge, ends[1]], [read * ends[0] / 1e9, peak / 1e9, peak / 1e9], color="black", lw=2.6)
    below = 0.72 * read / 1e9  # beside the roof, and as steep
    note: dict[str, Any] = {
        "rotation": math.degrees(math.atan2(below, 1)),
        "transform_rotates_text": True,
        "rotation_mode": "anchor",
        "fontsize": 12,
    }
    axes.text(0.55, 0.55 * below, f"memory: {read / 1e9:.0f} GB/s read", **note)
    axes.text(ends[1], peak / 1e9 * 1.06, f"arithmetic: {peak / 1e9:.0f} GFLOP/s", ha="right", fontsize=12)
    kinds = [
        (attention, "paged", "attention kernel, 4,096 shared tokens", OURS, "o"),
        (attention, "sdpa", "SDPA on copies (same useful work)", "#E69F00", "s"),
        (linear, "linear", "linear kernel, head of M", "#009E73", "D"),
        (linear, "torch", "torch linear, head of M", "#D55E00", "^"),
    ]
    for rows, key, label, colour, mark in kinds:
        x = [row["flops"] / row["bytes"] for row in rows]
        y = [row["flops"] / row[key]["median"] / 1e9 for row in rows]
        axes.plot(x, y, color=colour, marker=mark, label=label, lw=1.2)
        for row, at, high in zip(rows, x, y, strict=True):
            count = row.get("branches") or row.get("rows")
            if key in ("paged", "linear"):
                axes.annotate(f"{count}", (at, high), (-9, 6), textcoords="offset points", ha="center", fontsize=10)
    axes.set(xscale="log", yscale="log", xlim=ends)
    axes.set_xlabel("useful arithmetic for each byte that must be read, FLOP / byte")
    axes.set_ylabel("useful arithmetic, GFLOP/s")
    _plain(axes.xaxis, [0.25, 0.5, 1, 2, 4, 8, 16, 32, 64])
    _plain(axes.yaxis, [5, 10, 20, 50, 100, 200, 500])
    axes.set_title("Roofline: the numbers at the points are branches, or rows", loc="left")
    axes.legend(loc="lower right")
    return figure


PICTURES: dict[str, tuple[tuple[str, ...], Any]] = {
    "performance-peers.png": (("peers",), peers),
    "performance-steps.png": (("steps M",), steps),
    "performance-joins.png": (("joins S", "joins M"), joins),
    "performance-roofline.png": (("attention", "linear", "peak"), roofline),
}

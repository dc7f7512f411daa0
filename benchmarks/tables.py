"""Tables from figures, once for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .targets import GPU, Verdict, judge

HOW = {"stitch": "stitch", "stitch_contiguous": "contiguous", "stitch_copied": "copied", "reprefill": "re-prefill"}
PEERS = ("llama.cpp", "onnxruntime-genai", "vLLM eager", "vLLM compiled")


@dataclass(frozen=True)
class Table:
    """A heading, what the columns mean, and cells that are text already."""

    title: str
    note: str
    names: list[str]
    rows: list[list[str]]

    def text(self) -> str:
        lines = [self.names, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.names))]
        pad = [str.rjust if self.number(i) else str.ljust for i in range(len(self.names))]
        body = ["  ".join(f(*cell) for f, *cell in zip(pad, line, widths, strict=True)).rstrip() for line in lines]
        rule = "-" * len(max(body, key=len))
        return "\n".join([self.title, *([self.note] if self.note else []), rule, body[0], rule, *body[1:]])

    def number(self, column: int) -> bool:
        """Whether a column holds numbers, and so is set to the right."""
        return all(not row[column] or row[column][0] in "-0123456789" for row in self.rows)

    def markdown(self) -> str:
        lines = [self.names, ["---:" if self.number(i) else "---" for i in range(len(self.names))], *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(times: Mapping[str, float] | None, digits: int = 2) -> str:
    return "-" if times is None else f"{1e3 * times['median']:.{digits}f}"


def spread(times: Mapping[str, float] | None) -> str:
    """Median and quartiles, in milliseconds."""
    if times is None:
        return "-"
    return f"{1e3 * times['median']:.2f} ({1e3 * times['low']:.2f} to {1e3 * times['high']:.2f})"


def ratio(above: float, below: float) -> str:
    return f"{above / below:.2f}"


def machine(found: Mapping[str, Any]) -> Table:
    rows = [[name, str(value)] for name, value in found["machine"].items() if value is not None]
    return Table("The machine", "", ["what", "found"], rows)


def of(name: str, data: Any) -> list[Table]:
    """The tables of a section."""
    kind, _, size = name.partition(" ")
    if kind in ("attention", "linear", "moves"):
        return [_MAKERS[kind](dtype, part) for dtype, part in data.items()]
    if kind == "steps":
        types = list(dict.fromkeys(row["dtype"] for row in data["rows"]))
        return [_steps(size, dtype, [row for row in data["rows"] if row["dtype"] == dtype]) for dtype in types]
    if kind == "crowd":
        return _crowd(data)
    return [_MAKERS[kind](data)]


def _steps(size: str, dtype: str, rows: list[dict[str, Any]]) -> Table:
    lines = []
    for row in rows:
        one = next(r for r in rows if r["prefix"] == row["prefix"] and r["branches"] == 1)
        model, hugging = row["model"]["median"], row.get("transformers")
        mark = " (cache)" if row.get("cached") else ""
        cells = [f"{row['prefix']:,}", str(row["branches"]), f"{1e3 * row['floor']:.2f}{mark}", spread(row["model"])]
        cells += [ms(row["engine"]), f"{100 * row['overhead']['median'] / model:.1f}"]
        cells += [ms(row["torch"]), ms(hugging), ratio(model, row["floor"]), ratio(model, one["model"]["median"])]
        cells += [ratio(row["torch"]["median"], model), ratio(hugging["median"], model) if hugging else "-"]
        lines.append(cells)
    names = ["prefix", "branches", "floor", "step (quartiles)", "engine", "overhead, %", "torch", "transformers"]
    names += ["step/floor", "over 1 branch", "torch/step", "transformers/step"]
    speeds = {row["prefix"]: f"{row['read'] / 1e9:.1f}" for row in rows}
    note = "Milliseconds. Floor: bytes that must be read / read bandwidth. Step: the forward pass inside the engine. "
    note += f"Read bandwidth in the rounds of each prefix: {', '.join(speeds.values())} GB/s. "
    note += "(cache): these bytes fit the last-level cache, and are read from there." if "(cache)" in str(lines) else ""
    return Table(f"A step of {size} in {dtype}", note, names, lines)


def _attention(dtype: str, data: dict[str, Any]) -> Table:
    lines = []
    for row in data["rows"]:
        one = next(r for r in data["rows"] if r["prefix"] == row["prefix"] and r["branches"] == 1)
        paged, sdpa = row["paged"]["median"], row["sdpa"]["median"]
        cells = [f"{row['prefix']:,}", str(row["branches"]), f"{1e3 * row['floor']:.3f}", ms(row["paged"], 3)]
        cells += [ms(row["sdpa"], 3), ratio(paged, row["floor"]), ratio(paged, one["paged"]["median"])]
        lines.append([*cells, ratio(sdpa, paged), f"{row['flops'] / paged / 1e9:.0f}"])
    names = ["prefix", "branches", "floor", "kernel", "SDPA on copies", "kernel/floor", "over 1 branch"]
    note = "Milliseconds, one layer of M. SDPA: the faster of two forms; its copies are made outside the clock."
    return Table(f"Attention alone in {dtype}", note, [*names, "SDPA/kernel", "GFLOP/s"], lines)


def _linear(dtype: str, data: dict[str, Any]) -> Table:
    lines = []
    for row in data["rows"]:
        ours, torchs = row["linear"]["median"], row["torch"]["median"]
        cells = [f"{row['out']:,} x {row['in']:,}", str(row["rows"]), f"{1e3 * row['floor']:.3f}", ms(row["linear"], 3)]
        cells += [ms(row["torch"], 3), ratio(ours, row["floor"]), ratio(torchs, row["floor"])]
        lines.append([*cells, f"{row['bytes'] / ours / 1e9:.1f}", f"{row['bytes'] / torchs / 1e9:.1f}"])
    names = ["weight", "rows", "floor", "kernel", "torch", "kernel/floor", "torch/floor", "kernel, GB/s", "torch, GB/s"]
    return Table(f"Linear layers for few rows in {dtype}", "Milliseconds; weights come from memory.", names, lines)


def _moves(dtype: str, data: dict[str, Any]) -> Table:
    lines = []
    for row in data["rows"]:
        kinds = [row[name] for name in ("copy", "copy_and_shift", "copy_then_shift", "torch_copy")]
        lines.append(
            [f"{row['tokens']:,}", f"{row['bytes'] / 1e6:.1f}", ms(row["copy_and_shift"])]
            + [f"{100 * kind['of_copy_bandwidth']:.0f}" for kind in kinds]
        )
    names = [
        "tokens",
        "MB",
        "copy and shift, ms",
        "copy, %",
        "copy and shift, %",
        "copy, then shift, %",
        "torch copy, %",
    ]
    return Table(f"Moving keys and values in {dtype}", "All layers of M. %: of the copy bandwidth.", names, lines)


def _joins(data: dict[str, Any]) -> Table:
    lines = []
    for row in data["rows"]:
        step = row["step"]["median"]
        cells = [HOW[row["how"]], str(row["branches"]), f"{row['tokens']:,}", ms(row["join"]), ms(row["to_logits"])]
        cells += [ratio(row["join"]["median"], step), ratio(row["to_logits"]["median"], step)]
        lines.append([*cells, f"{row['bytes_moved'] / 1e6:.1f}", f"{row['recomputed']:,}"])
    names = ["join", "branches", "tokens each", "join", "to next logits", "join, steps", "to logits, steps"]
    note = "Milliseconds from the call. A step: one token decoded after a stitch."
    title = f"Joins, {data['size']} in {data['dtype']}, after a prefix of {data['prefix']}"
    return Table(title, note, [*names, "MB moved", "tokens again"], lines)


def _fork(data: dict[str, Any]) -> Table:
    lines = [
        [f"{row['prefix']:,}", ms(row["fork"], 3), f"{100 * row['fork']['median'] / row['step']['median']:.1f}"]
        + [str(row["bytes_moved"]), ms(row["copies"]), f"{row['bytes_of_copies'] / 1e6:.0f}"]
        for row in data["rows"]
    ]
    names = ["prefix", "fork, ms", "of a step, %", "bytes moved", "copying instead, ms", "MB copied"]
    return Table(f"A fork into 8 branches, {data['size']} in {data['dtype']}", "", names, lines)


def _prefill(data: dict[str, Any]) -> Table:
    who = [name for name in ("engine", "torch", "transformers") if name in data["rows"][0]]
    lines = [
        [f"{row['tokens']:,}", *(f"{row[name]['tokens_per_second']:,.0f}" for name in who)] for row in data["rows"]
    ]
    title = f"Prefill, {data['size']} in {data['dtype']}"
    return Table(title, "Tokens a second of one prompt.", ["tokens", *who], lines)


def _memory(data: dict[str, Any]) -> Table:
    lines = []
    for row in data["rows"]:
        mb, copies = row["used"] / 1e6, row["copies"] / 1e6
        cells = [str(row["branches"]), f"{mb:.1f}", f"{mb / row['branches']:.1f}", f"{copies:.1f}"]
        lines.append([*cells, ratio(copies, mb)])
    names = ["branches", "MB in use", "MB a branch", "MB with a copy each", "copies/ours"]
    title = f"Keys and values of {data['size']} in {data['dtype']}: a prefix of {data['prefix']:,}, {data['own']} own"
    return Table(title, "", names, lines)


def _bandwidth(data: dict[str, Any]) -> Table:
    lines = [[f"{what} 256 MB", f"{told['bytes_per_second'] / 1e9:.1f}", spread(told)] for what, told in data.items()]
    names = ["what", "GB/s", "ms (quartiles)"]
    return Table(
        "The bandwidth of this machine's memory", "A copied byte counts twice: read and written.", names, lines
    )


def _peak(data: dict[str, Any]) -> Table:
    lines = [[name, f"{speed / 1e9:.0f}"] for name, speed in data.items()]
    return Table("The fastest arithmetic seen, float32", "", ["what", "GFLOP/s"], lines)


def _peers(data: dict[str, Any]) -> Table:
    rows = data["rows"]
    here = ["model", "engine", "torch", "transformers"]
    words = {"model": "miniapr, forward pass", "engine": "miniapr, whole engine", "torch": "torch, KV copies"}
    lines = [["floor", *(f"{1e3 * row['floor']:.2f}" for row in rows), *["-"] * len(rows), ""]]
    for name in [*here, *PEERS]:
        told = data["peers"].get(name, {})
        note = told.get("not_timed") or told.get("how") or ""
        cells = [spread(row.get(name)) for row in rows]
        cells += [ratio(row[name]["median"], row["model"]["median"]) if name in row else "-" for row in rows]
        lines.append([words.get(name, name), *cells, f"not run: {note}" if "not_timed" in told else note])
    widths = ["1 branch" if row["branches"] == 1 else f"{row['branches']} branches" for row in rows]
    names = ["who", *(f"{width}, ms" for width in widths), *(f"{width}, over ours" for width in widths), "how"]
    return Table(f"M in float32 on a prefix of {data['prefix']:,}, with peers", "Quartiles in brackets.", names, lines)


def _gpu(data: dict[str, Any]) -> Table:
    return Table("GPU", data["device"], ["what", "measured"], [[n, f"{v:.4g}"] for n, v in data["figures"].items()])


_MAKERS: dict[str, Any] = {
    "attention": _attention, "linear": _linear, "moves": _moves, "joins": _joins, "fork": _fork, "prefill": _prefill,
    "memory": _memory, "bandwidth": _bandwidth, "peak": _peak, "peers": _peers, "gpu": _gpu,
}  # fmt: skip


def _crowd(data: dict[str, Any]) -> list[Table]:
    """How cost grows: with the problems, the trees kept, the rounds of one tree, a full cache, time."""
    lines = [
        [
            f"{row['problems']:,}",
            f"{row['temperature']:g}",
            f"{row['tokens']:,.0f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{100 * row['engine_share']:.0f}",
            f"{row['n']}",
        ]
        for row in data["problems"]
    ]
    names = ["problems", "temperature", "tokens", "tokens/s", "engine's share, %", "n"]
    note = "The shipped model, forking by itself; prompts included. Share: all but the forward pass."
    problems = Table("Many problems at once", note, names, lines)
    kept = [[f"{row['trees']:,}", f"{1e3 * row['seconds']:.2f}"] for row in data["kept"]]
    full = [[f"{r['blocks']:,}", f"{r['empty']:.2f}", f"{r['full']:.2f}"] for r in data["full cache"]]
    rounds, memory = data["rounds"], data["memory"]["resident_mb"]
    long = [[f"{rounds['rounds']}", *(f"{1e3 * rounds[name]:.1f}" for name in ("first", "last"))]]
    every = data["memory"]["every"]
    marks = sorted({0, len(memory) // 4, len(memory) // 2, 3 * len(memory) // 4, len(memory) - 1})
    aged = [[f"{every * (i + 1):,}", f"{memory[i]:.0f}"] for i in marks]
    wide = data["wide"]
    cells = [f"{wide['branches']}", f"{1e3 * wide['model']:.1f}", f"{1e3 * wide['overhead']:.1f}"]
    cells.append(f"{100 * wide['overhead'] / (wide['model'] + wide['overhead']):.1f}")
    return [
        problems,
        Table("A step of M, wide", "", ["branches", "forward pass, ms", "engine, ms", "engine's share, %"], [cells]),
        Table("One token of one tree, beside others that a user keeps", "", ["trees kept", "ms"], kept),
        Table("Fork and stitch one tree, over and over", "", ["rounds", "first 50, ms", "last 50, ms"], long),
        Table("A prompt of 2,000 tokens", "Seconds.", ["blocks", "empty pool", "full of cached prefixes"], full),
        Table("Memory of an engine with its default options", "", ["requests so far", "resident, MB"], aged),
    ]


def targets(sections: Mapping[str, Any], all_of_them: bool = True) -> Table:
    """Targets and verdicts; of those that were not measured, only if ``all_of_them`` are wanted."""
    verdicts = [verdict for verdict in judge(sections) if all_of_them or verdict.met is not None]
    met = [verdict.met for verdict in verdicts]
    note = f"{met.count(True)} met, {met.count(False)} not met, {met.count(None)} not measured"
    return Table("Targets", note, ["on", "target", "wanted", "measured", "verdict"], [_verdict(v) for v in verdicts])


def _verdict(verdict: Verdict) -> list[str]:
    target, value = verdict.target, verdict.value
    unit = {"x": " x", "%": " %"}.get(target.unit, "")
    digits = {"x": 2, "%": 1}.get(target.unit, 0)
    measured = "" if value is None else f"{value:.{digits}f}{unit}"
    word = {True: "met", False: "**not met**", None: "not measured"}[verdict.met]
    if value is None and target.group == GPU:
        word = "not measured: no GPU"
    return [target.group, target.text, f"{target.sense} {target.limit:g}{unit}", measured, word]

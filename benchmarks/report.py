"""docs/performance*.md from the figures: every number in them comes from the JSON files, the pictures too.

    python -m benchmarks report

It reads benchmarks/results/*.json: a file, and a page, for each machine. What was tried is written by hand, in
benchmarks/tried.md, and put at the end of the first one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import plots, race, tables, targets
from .targets import judge

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCS, TRIED = HERE.parent / "docs", HERE / "tried.md"
IMAGES = DOCS / "images"

INTRO = """\
Thinking in parallel pays if eight branches cost little more than one, and a join next to nothing. This page says
what they cost, beside the limit of the machine and beside other engines, all measured in one run.

How to read it:

- **Everything takes turns.** In every round each contestant runs once, in an order drawn anew, so that the drift of
  the machine hits all alike. Figures are medians; quartiles are in brackets, or a band in the pictures.
- **The floor** of a step is the bytes that it cannot avoid to read (all weights once, each distinct key and value
  once) over the speed at which as many bytes were read in the same rounds and rhythm, by the fastest way known:
  torch's reductions, or a product with one row. It counts no arithmetic: with many branches the true limit lies
  above it. A floor that somebody beats ends the run with an error; one marked (cache) fits the last-level cache.
- **The step** is the forward pass, from tokens to logits, as it runs inside the engine. What the engine adds
  (choosing what to compute, planning attention, sampling, events) is *overhead*, in a column of its own.
- **PyTorch** is a plain decoding loop with `scaled_dot_product_attention`, one copy of the keys and values for each
  branch. **transformers** is `LlamaForCausalLM` on the same weights, with its dynamic or its static cache, whichever
  was faster. The logits of all are compared before anything is timed.
- **M**: 12 layers, 768 wide, 12 query and 4 KV heads of 64, MLP 2,048, vocabulary 32,000: 125 M parameters.
  **S**: 6 layers, 384 wide, 6 and 2 heads, MLP 1,024, vocabulary 4,096: 12.6 M parameters. Weights are random: time
  does not depend on what a model says.
"""

# section -> (heading, picture, what it shows)
CHAPTERS = {
    "bandwidth": ("The ceiling", None, "Measured again in the rounds of every section below, where it drifts."),
    "peers": (
        "Beside other engines",
        "performance-peers.png",
        "Each peer runs in its own process and environment, on the same weights, in the same rounds, one of its steps "
        "after the other. A peer whose log-probabilities differ is not timed.",
    ),
    "steps M": (
        "A step of M",
        "performance-steps.png",
        "All branches share the prefix. The peers hold a copy of it for each branch; here it is read once.",
    ),
    "steps S": ("A step of S", None, "A small model: most of a step is the cost of calling kernels."),
    "attention": ("Attention alone", None, "Keys and values come from memory, not from a cache."),
    "linear": (
        "Linear layers",
        "performance-roofline.png",
        "Most of a step: every weight is read once, for all rows. The roofline shows these kernels and attention "
        "under the two roofs of this machine; SDPA does the same useful work but reads a copy for each branch.",
    ),
    "peak": ("The roof of the roofline", None, "Peak arithmetic is what was seen, not what a data sheet says."),
    "joins M": (
        "Joins of M",
        "performance-joins.png",
        "Re-prefills of more than 4,096 tokens are left out: a known line, and slow.",
    ),
    "joins S": ("Joins of S", None, "From the call to the logits of the next token, one decoded token included."),
    "fork": ("A fork", None, "Against it: one copy of the prefix's keys and values for each branch."),
    "moves": ("Copying and turning keys and values", None, "A byte counts twice, read and written, as in the ceiling."),
    "prefill": ("Prefill", None, ""),
    "crowd": (
        "Many at once, for long",
        None,
        "What a step costs besides its forward pass, and that it depends on nothing but what it computes.",
    ),
    "memory": (
        "Memory of a branch",
        None,
        "Counted in the engine's pool, beside one contiguous cache for each branch.",
    ),
    "gpu": ("On a GPU", None, ""),
}


OLD_FLOOR = """\
These figures were taken with an earlier floor, which bounds less: over the speed of reading 256 MB by one of torch's
reductions.
"""


def page(found: Mapping[str, Any], tried: str, stem: str = "cpu", machines: Sequence[str] = ()) -> str:
    """The whole page of one machine, as text. What was tried stands on the first one's."""
    sections, first = found["sections"], stem == "cpu"
    told, others = (
        found["machine"],
        [f"[{page_of(other).name}]({page_of(other).name})" for other in machines if other != stem],
    )
    built = re.search(r"instructions (\w+)", told.get("built", ""))
    here = f"Measured on: {told['cpu']}, {told.get('threads')} threads, {built[1] if built else 'no extension'}."
    verdicts = judge(sections)
    met = [verdict.met for verdict in verdicts]
    parts = [
        "<!-- Made by `python -m benchmarks report`: edit benchmarks/report.py or benchmarks/tried.md, not this. -->",
        "# Performance" if first else f"# Performance: {stem}",
        here + (f" Other machines: {', '.join(others)}." if others else ""),
        INTRO + (OLD_FLOOR if any("cached" not in row for row in targets.floors(sections)) else ""),
        "## Targets",
        f"{met.count(True)} met, {met.count(False)} not met, {met.count(None)} not measured. CPU: two threads, "
        "in float32 where nothing else is said. GPU: a Hopper, in bfloat16.",
        tables.targets(sections, all_of_them=first).markdown(),
    ]
    if first and "gpu" not in sections:
        parts.append(
            "Not measured: no GPU. The kernels compile, and `python -m benchmarks --only gpu` is ready to fill the "
            "empty cells."
        )
    for name, (heading, picture, words) in CHAPTERS.items():
        if name not in sections:
            continue
        parts.append(f"## {heading}")
        if first and picture and set(plots.PICTURES[picture][0]) <= set(sections):
            parts.append(f"![{heading}](images/{picture})")
        if words:
            parts.append(words)
        for table in tables.of(name, sections[name]):
            parts += [f"**{table.title}.** {table.note}".rstrip(), table.markdown()]
    parts += ["## What was tried", tried.strip()] if first else []
    parts += ["## The machine", tables.machine(found).markdown()]
    parts += ["Measured, section by section:", _when(found["measured"])]
    parts += [
        "To repeat it:",
        f"```sh\npython -m benchmarks --peers --json benchmarks/results/{stem}.json",
    ]
    parts[-1] += "\npython -m benchmarks report\n```"
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _when(measured: Mapping[str, Any]) -> str:
    names = ["section", "date, UTC", "commit", "rounds", "seconds"]
    rows = [
        [name, told["date"], str(told["commit"] or "-"), str(told["rounds"]), f"{told['seconds']:.0f}"]
        for name, told in measured.items()
    ]
    return tables.Table("", "", names, rows).markdown()


def write() -> None:
    """A page for each machine, and the pictures of the first one."""
    files = committed()
    for name in plots.draw(files["cpu"]["sections"], IMAGES):
        print(IMAGES / name)
    for stem, found in files.items():
        page_of(stem).write_text(page(found, TRIED.read_text(), stem, list(files)))
        print(page_of(stem))
    if race.FIGURES.exists():
        print(race.write())


def page_of(stem: str) -> Path:
    return DOCS / ("performance.md" if stem == "cpu" else f"performance-{stem}.md")


def committed() -> dict[str, dict[str, Any]]:
    """What `python -m benchmarks` measured, by machine: a file each. Other experiments have files beside it."""
    files = {file.stem: json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))}
    return {stem: found for stem, found in files.items() if "sections" in found}

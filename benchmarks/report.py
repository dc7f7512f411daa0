"""docs/performance.md from the figures: every number in it comes from the JSON files, the pictures too.

    python -m benchmarks report

It reads benchmarks/results/*.json (a CPU's figures and a GPU's come from different machines). What was tried is
written by hand, in benchmarks/tried.md, and put at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import plots, tables
from .targets import judge

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE, IMAGES, TRIED = HERE.parent / "docs" / "performance.md", HERE.parent / "docs" / "images", HERE / "tried.md"

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


def page(found: Mapping[str, Any], tried: str) -> str:
    """The whole page, as text."""
    sections = found["sections"]
    verdicts = judge(sections)
    met = [verdict.met for verdict in verdicts]
    parts = [
        "<!-- Made by `python -m benchmarks report`: edit benchmarks/report.py or benchmarks/tried.md, not this. -->",
        "# Performance",
        INTRO,
        "## Targets",
        f"{met.count(True)} met, {met.count(False)} not met, {met.count(None)} not measured. CPU: two threads, "
        "in float32 where nothing else is said. GPU: a Hopper, in bfloat16.",
        tables.targets(sections).markdown(),
    ]
    if "gpu" not in sections:
        parts.append(
            "Not measured: no GPU. The kernels compile, and `python -m benchmarks --only gpu` is ready to fill the "
            "empty cells."
        )
    for name, (heading, picture, words) in CHAPTERS.items():
        if name not in sections:
            continue
        parts.append(f"## {heading}")
        if picture and set(plots.PICTURES[picture][0]) <= set(sections):
            parts.append(f"![{heading}](images/{picture})")
        if words:
            parts.append(words)
        for table in tables.of(name, sections[name]):
            parts += [f"**{table.title}.** {table.note}".rstrip(), table.markdown()]
    parts += ["## What was tried", tried.strip(), "## The machine", tables.machine(found).markdown()]
    parts += ["Measured, section by section:", _when(found["measured"])]
    parts += [
        "To repeat it:",
        "```sh\npython -m benchmarks --peers --json benchmarks/results/cpu.json",
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
    """The page and its pictures."""
    found = committed()
    for name in plots.draw(found["sections"], IMAGES):
        print(IMAGES / name)
    PAGE.write_text(page(found, TRIED.read_text()))
    print(PAGE)


def committed() -> dict[str, Any]:
    """What `python -m benchmarks` measured. Other experiments have files of their own beside it."""
    files = [json.loads(file.read_text()) for file in sorted(RESULTS.glob("*.json"))]
    return merge([file for file in files if "sections" in file])


def merge(files: list[dict[str, Any]]) -> dict[str, Any]:
    """One set of figures. A GPU's come from another machine than a CPU's; each section says when it was measured."""
    found: dict[str, Any] = {"machine": {}, "measured": {}, "sections": {}}
    for file in files:
        found["sections"] |= file["sections"]
        found["measured"] |= file["measured"]
        found["machine"] = file["machine"] | {k: v for k, v in found["machine"].items() if v is not None}
    return found

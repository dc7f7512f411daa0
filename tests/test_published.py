"""What a paper or its code sets is what a method does unless it is told otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from miniapr.methods.deepconf import TOP_K
from miniapr.methods.search.tree_of_thoughts import TIMES
from miniapr.methods.table import METHODS
from miniapr.players import steps, talking
from miniapr.tasks.words import LIKELY, NEVER, SURE

PUBLISHED: dict[str, dict[str, Any]] = {
    "sequential": {},
    "self-consistency": {},  # Wang et al. 2022: any number of samples
    "best-of-n": {},  # any N
    "early-cancel": {},  # ours
    "budget-aware": {},  # ours
    # Fu et al. 2025, section 3.1: groups of 2,048 tokens; the lowest tenth of them
    "deepconf": {"window": 2048, "measure": "bottom"},
    # section 3.2, and its code: 16 warm-up traces, a bar that 90 % of them are above
    "deepconf-online": {"width": 16, "keep": 90.0, "window": 2048},
    # Ning et al. 2023, the skeleton's prompt: 3 to 10 points
    "skeleton-of-thought": {"width": 10},
    "skeleton-joined": {"width": 10},
    # Yao et al. 2023, section 4.1 (Game of 24) and its code: three operations and the answer, b = 5, proposals, values
    "tree-of-thoughts": {
        "width": 5, "steps": 4, "generate": "propose", "evaluate": "value", "select": "greedy", "times": None
    },
    # section 4.3: depth first, a thought is pruned at the value of "impossible"
    "tree-of-thoughts-dfs": {"generate": "propose", "evaluate": "value", "bar": 0.001},
    "graph-of-thoughts": {},  # Besta et al. 2023: a graph for each task
    # Hao et al. 2023 (RAP), and its code: 10 simulations one after the other, 5 steps deep, w = 1, best path
    "mcts": {
        "iterations": 10, "depth": 5, "weight": 1.0, "policy": "uct", "width": 1, "rollouts": 1, "trees": 1,
        "output": "best",
    },
    "parathinker": {},  # Wen et al. 2025: 2 to 8 paths
    "group-think": {"positions": "slots"},  # Hsu et al. 2025, as it is told; how many thinkers is ours
    # Rodionov et al. 2025: Alice and Bob, the combined layout; its code asks every 256 tokens
    "hogwild": {"width": 2, "every": 256, "layout": "combined"},
    "multiverse": {"join": "stitch"},  # Yang et al. 2025: plans of any length
    "threadweaver": {"blocks": 32, "join": "reprefill"},  # Lian et al. 2025: its code follows 32 blocks
    "parallel-r1": {"width": 2, "join": "reprefill"},  # Zheng et al. 2025, its code: 2 paths
    "npr": {"width": 5, "depth": 5, "join": "stitch"},  # arXiv 2512.07461: guards of its engine
    "apr": {"levels": 1},  # Pan et al. 2025: sub searches do not nest
    "recursive": {},  # arXiv 2603.02112
    "apar": {"width": 2},  # Liu et al. 2024: its code takes two forks in a row for one
    "asyncthink": {},  # arXiv 2510.26658: a pool of any size
}  # fmt: skip


def test_the_table_is_about_every_method() -> None:
    assert PUBLISHED.keys() == METHODS.keys()


@pytest.mark.parametrize("name", [name for name, published in PUBLISHED.items() if published])
def test_the_defaults_are_as_published(name: str) -> None:
    options = METHODS[name].options
    assert {option: options[option] for option in PUBLISHED[name]} == PUBLISHED[name]


def test_the_constants_that_are_no_options_are_as_published() -> None:
    assert TIMES == {"value": 3, "vote": 5}  # Yao et al. 2023: answers that are added up
    shares = [20 / 20, 1 / 20, 0.001 / 20]  # sure, likely, impossible
    assert [steps.VALUES[word] for word in (SURE, LIKELY, NEVER)] == shares
    assert [talking.VALUES[word] for word in ("sure", "likely", "impossible")] == shares
    assert TOP_K == 20  # Fu et al. 2025: log-probabilities of the likeliest tokens

"""A decoding step of k branches on one shared prefix: the model alone, the whole engine, and the peers."""

from __future__ import annotations

from typing import Any

from miniapr.ops import Operations

from . import models
from .contestants import Tree
from .rivals import TorchLoop, Transformers, check_equal
from .timing import Memory, Times, Turn, floor, interleave

BURST = 3


class Team:
    """Everybody who runs one model in one type, on copies of the same weights."""

    def __init__(self, size: str, dtype: str, ops: Operations) -> None:
        self.config, self.dtype, self.kind, self.ops = models.SIZES[size], dtype, models.DTYPES[dtype], ops
        self.model = models.build(size, self.kind)
        self.torch = TorchLoop(models.weights(self.model), self.config)
        try:
            self.transformers: Transformers | None = Transformers(models.weights(self.model), self.config)
        except ImportError:
            self.transformers = None  # the table says so
        models.lay_out(self.model, ops)
        rivals: list[TorchLoop | Transformers] = [self.torch, *([self.transformers] if self.transformers else [])]
        self.differences = check_equal(self.model, ops, rivals)
        self.trees: dict[int, Tree] = {}
        self.caches: dict[int, str] = {}

    def prepare(self, prefix: int, widths: list[int]) -> dict[str, Turn]:
        """One step of each contestant at each width, by name; and reading as many bytes."""
        size = models.floor_bytes(self.config, self.kind.itemsize, prefix, 1)
        self.memory = Memory(size, ops=self.ops, name=f"{self.dtype} ")
        turns = self.memory.turns()
        self.trees, self.caches, self.prefix = {}, {}, prefix
        for width in widths:
            self.trees[width] = Tree(self.model, self.ops, prefix, width)
            turns[f"{self.dtype} engine {width}"] = self.trees[width].step
            turns[f"{self.dtype} torch {width}"] = self.torch.decoding(prefix, width)
            if self.transformers:
                self.caches[width], step = self.transformers.faster(prefix, width)
                turns[f"{self.dtype} transformers {width}"] = step
        return turns

    def row(self, width: int, times: dict[str, Times], runs: int) -> dict[str, Any]:
        """What was measured at one width; ``runs``: how many of the last runs of the engine count."""
        tree = self.trees[width]
        own = sum(len(branch.span.tokens) for branch in tree.branches) // width
        size = models.floor_bytes(self.config, self.kind.itemsize, self.prefix, width, own)
        row: dict[str, Any] = {"dtype": self.dtype, "prefix": self.prefix, "branches": width}
        row |= floor(size, self.memory.speed(times)["read"])
        row["engine"] = times[f"{self.dtype} engine {width}"].json()
        row["model"] = Times.of(tree.watch.seconds[-runs:]).json()
        row["overhead"] = Times.of(tree.overhead[-runs:]).json()
        row["torch"] = times[f"{self.dtype} torch {width}"].json()
        if self.transformers:
            row["transformers"] = times[f"{self.dtype} transformers {width}"].json() | {"cache": self.caches[width]}
        return row


def measure(
    size: str, dtypes: list[str], ops: Operations, prefixes: list[int], widths: list[int], rounds: int
) -> dict[str, Any]:
    """One model; all types, all widths of a prefix and all contestants take turns in the same rounds."""
    teams = [Team(size, dtype, ops) for dtype in dtypes]
    rows = []
    for prefix in prefixes:
        turns: dict[str, Turn] = {}
        for team in teams:
            turns |= team.prepare(prefix, widths)
        times = interleave(turns, rounds, burst=BURST)
        rows += [team.row(width, times, rounds * BURST) for team in teams for width in widths]
    differences = {team.dtype: team.differences for team in teams}
    return {"size": size, "logits_differ_by": differences, "rows": rows}

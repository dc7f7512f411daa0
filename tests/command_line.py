"""Running the commands in this process, and what their JSON must look like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import write_nonsense

import miniapr
from miniapr.cli import main
from miniapr.methods.compare import JOINS

ROOT = Path(miniapr.__file__).parents[1]  # where the package is that is tested: not always the source tree
TOP = ["problem", "model", "fork", "joins", "critical_path", "total_tokens", "sequential", "interrupted"]
JOIN = (
    "position tokens_recomputed tokens_reused bytes_moved keys_shifted seconds kl_to_reprefill top1_agrees text correct"
)
LINE = ["text", "correct", "critical_path", "total_tokens", "steps", "seconds"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Exit code, standard output and error of a command run in this process."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as leave:
            code = leave.code if isinstance(leave.code, int) else 1
        return (code, *capsys.readouterr())

    threads = torch.get_num_threads()
    yield call
    torch.set_num_threads(threads)  # which is the whole process's


@pytest.fixture(scope="session")
def nonsense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It writes many control tokens, mostly where they make no sense."""
    return write_nonsense(tmp_path_factory.mktemp("nonsense"), loudness=1.5, seed=1)


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It never ends by itself, and its context has room for minutes."""
    return write_nonsense(tmp_path_factory.mktemp("endless"), loudness=-3.0, context=1 << 17)


def parse(text: str) -> dict[str, Any]:
    """Strict JSON: NaN and Infinity are no numbers."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} in the output")

    found: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return found


def check_shape(report: dict[str, Any]) -> None:
    """Exactly the promised keys, and numbers that can be true together."""
    assert list(report) == TOP
    assert list(report["problem"]) == ["numbers", "target", "solvable", "solution"]
    assert {"name", "parameters", "backend"} <= report["model"].keys()
    assert set(report["joins"]) <= set(JOINS)
    for joined in report["joins"].values():
        assert list(joined) == JOIN.split()
    fork = report["fork"]
    if fork is None:
        assert not report["joins"]
    else:
        assert list(fork) == ["position", "width", "branches", "before"]
        assert fork["width"] == len(fork["branches"])
        for thread in fork["branches"]:
            assert list(thread) == ["id", "position", "seed", "text", "tokens", "finish"]
            assert thread["position"] == fork["position"]
    if report["sequential"] is not None:
        assert list(report["sequential"]) == LINE
    assert report["critical_path"] <= report["total_tokens"]

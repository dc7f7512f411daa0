"""Profiles and fixtures of the whole suite. Set MINIAPR_HYPOTHESIS=thorough for a long search."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import endless, nonsense, run  # noqa: F401
from helpers import backend_or_skip
from hypothesis import HealthCheck, settings
from serving import HANG

from miniapr.ops import Operations

# For `benchmarks`, which is not installed; last, so that miniapr is still the installed one.
sys.path.append(str(Path(__file__).parents[1]))

torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # what a test starts, too: threads of two processes wait for each other

# What a shell starts in the background ignores Ctrl-C, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=200, suppress_health_check=SLOW_IS_FINE, print_blob=True
)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=SLOW_IS_FINE)
settings.load_profile(os.environ.get("MINIAPR_HYPOTHESIS", "ci"))


@pytest.fixture(params=["reference", "cpp"])
def backend(request: pytest.FixtureRequest) -> Operations:
    """Every implementation of the operations that runs on a CPU."""
    return backend_or_skip(request.param)


@pytest.fixture(autouse=True)
def same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test draws does not depend on those before it in its process, and a slow server is waited for."""
    torch.manual_seed(0)
    monkeypatch.setattr("miniapr.remote.engine.LINGER", float(HANG))


LONGEST = ("test_tutorials", "test_oracle", "test_crowds", "test_session")  # files with tests of a minute each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: begun last, one process would still run them when the others have nothing left to do."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A process without work takes what another one has not begun: both end at about the same time."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)

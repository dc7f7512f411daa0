"""Several processes train the model that one would have trained, to rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor

from miniapr.train import optim, saved
from miniapr.train.config import TrainConfig
from miniapr.train.parallel import Team, team
from miniapr.train.sft import Run, train

SIZES = {
    "tokens": 1500,
    "batch_tokens": 600,
    "layers": 1,
    "hidden_size": 16,
    "intermediate_size": 24,
    "heads": 2,
    "chunk_size": 8,
}
TINY = TrainConfig(**SIZES, autocast=False)


class Alone(Team):
    """A member of a team whose others are not there: it keeps what it would have sent."""

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        object.__setattr__(self, "sent", [])

    def add(self, tensors: Iterable[Tensor]) -> None:
        self.__dict__["sent"] += [tensor.clone() for tensor in tensors]


def sent(rank: int, size: int, batch_tokens: int) -> list[Tensor]:
    """What one process of so many adds for one batch: its gradients, and its part of the loss."""
    alone = Alone(rank, size)
    Run(replace(TINY, batch_tokens=batch_tokens), alone).step()
    return alone.__dict__["sent"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("size", "tokens"), [(2, 600), (3, 1500), (3, 1)])
def test_the_gradients_of_all_shares_are_those_of_the_batch(size: int, tokens: int) -> None:
    """Also where a batch has fewer sequences than there are processes."""
    whole = sent(0, 1, tokens)
    parts = [sent(rank, size, tokens) for rank in range(size)]
    for one, shares in zip(whole, zip(*parts, strict=True), strict=True):
        torch.testing.assert_close(sum(shares), one, rtol=1e-4, atol=1e-6)
    assert tokens > 1 or not any(tensor.any() for tensor in parts[-1])


def test_every_item_is_in_one_share() -> None:
    for size in (1, 2, 5):
        shares = [Team(rank, size).share(range(7)) for rank in range(size)]
        assert sorted(chain(*shares)) == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with team() as us:
        assert us == Team(0, 1) and us.first
        us.add([torch.ones(1)])


# In full precision, also on a machine that is faster in half of it; then the command, as it is.
SCRIPT = """
import sys
from miniapr.train import optim
optim.fast_bfloat16 = lambda: False
from miniapr.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SIZES.items()]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(tmp_path / "script.py"), "train", *options, "--out", str(tmp_path / "two")]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 1
    monkeypatch.setattr(optim, "fast_bfloat16", lambda: False)
    train(TINY, tmp_path / "one", say=lambda _: None)
    (one, progress), (two, theirs) = (saved.read(tmp_path / name) or ({}, {}) for name in ("one", "two"))
    assert progress["config"] == theirs["config"] and progress["progress"]["step"] == theirs["progress"]["step"] > 1
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)

"""Several processes train the model that one would have trained, to rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import assert_trained_alike
from torch import Tensor

from miniapr.rl import loop
from miniapr.rl.update import lessons
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
        shares = [list(Team(rank, size).share(range(7))) for rank in range(size)]
        assert sorted(chain(*shares)) == list(range(7))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with team() as us:
        assert us == Team(0, 1) and us.first
        us.add([torch.ones(1)])


# In full precision, also on a machine that is faster in half of it; then the commands, as they are.
SCRIPT = """
import sys
from miniapr.train import optim
optim.fast_bfloat16 = lambda: False
from miniapr.cli import main
from miniapr.train.parallel import team
with team():
    for words in sys.argv[1:]:
        assert main(words.split()) == 0
"""
PRACTICE = {
    "method": "self-consistency",
    "reward": "ratio",
    "counts": (3,),
    "tokens": 90,
    "steps": 2,
    "prompts": 3,
    "samples": 4,
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have trained: on demonstrations in ``sft``, by reinforcement in ``rl``."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(SCRIPT)
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in SIZES.items())
    practice = " ".join(f"--{name} {value}" for name, value in {**PRACTICE, "counts": 3}.items())
    sft = f"train sft {options} --out {folder / 'sft'}"
    reinforce = f"train rl --start countdown {practice} --out {folder / 'rl'}"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(folder / "script.py"), sft, reinforce],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote") == 2  # one process speaks
    for made in ("sft", "rl"):  # the weights depend on it, to rounding
        assert json.loads((folder / made / "miniapr.json").read_text())["provenance"]["processes"] == 2
    return folder


def checkpoint(folder: Path) -> tuple[dict[str, Tensor], Any]:
    found = saved.read(folder)
    assert found
    return found


def test_two_processes_learn_from_demonstrations_as_one(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optim, "fast_bfloat16", lambda: False)
    train(TINY, tmp_path, say=lambda _: None)
    (one, ours), (both, theirs) = checkpoint(tmp_path), checkpoint(two / "sft")
    assert ours["config"] == theirs["config"] and ours["progress"]["step"] == theirs["progress"]["step"] > 1
    assert one.keys() == both.keys()
    for name, tensor in one.items():
        assert_trained_alike(both[name], tensor, name)


def test_two_processes_learn_by_reinforcement_as_one(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each samples its share of the problems; rewards, what tokens weigh and what is told are of the whole batch."""
    loop.train(loop.RLConfig("countdown", **PRACTICE), tmp_path, say=lambda _: None)
    (one, ours), (both, theirs) = checkpoint(tmp_path), checkpoint(two / "rl")
    assert ours["config"] == theirs["config"] and ours["progress"]["tokens"] == theirs["progress"]["tokens"]
    for row, other in zip(ours["progress"]["curve"], theirs["progress"]["curve"], strict=True):
        assert row["rollouts"] == 12 and row["norm"] > 0
        for name in row.keys() - {"sampling", "training", "off"}:
            assert other[name] == pytest.approx(row[name], rel=1e-4, abs=1e-6), name
    for name, tensor in one.items():
        if "first" in name:  # gradients: of one that is nearly none AdamW goes a whole step, whatever its sign
            assert (both[name] - tensor).abs().max() <= 1e-3 * tensor.abs().max(), name


def test_of_others_there_is_what_a_reward_looks_at_and_no_more() -> None:
    """What is learned from them weighs as much as if they were here."""
    run = loop.Run(loop.RLConfig("countdown", **PRACTICE))
    rollouts, rewards, _ = run.explore()
    others = [replace(rollout, root=rollout.root.bare) if rollout.group else rollout for rollout in rollouts]
    assert [rollout.root for rollout in others] == [rollout.root for rollout in rollouts]  # but for their places
    assert loop.told(others, rewards) == loop.told(rollouts, rewards)
    worth = rewards.flatten().tolist()
    mine, all_ = lessons(others, worth, "branch"), lessons(rollouts, worth, "branch")
    assert len(mine) == 4 < len(all_) == 12
    for one, other in zip(mine, all_, strict=False):
        assert torch.equal(one.weight, other.weight) and torch.equal(one.row.sampled, other.row.sampled)

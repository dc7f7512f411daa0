"""The example for TRL: its trainer learns from trees that our client sampled on a server, paid by our rewards."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from serving import Running, serving

from miniapr.model.bundle import SHIPPED, Bundle, load
from miniapr.remote.client import Server
from miniapr.remote.engine import RemoteEngine
from miniapr.rl.rewards import read_reward
from miniapr.rl.rollouts import Rollout, Unit
from miniapr.rl.trie import requests

pytest.importorskip("trl", reason="trl is not installed: pip install '.[trl]'")


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("trl_grpo", Path(__file__).parents[1] / "examples" / "trl_grpo.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose lines differ, without its voices, which Hugging Face does not know."""
    out = shutil.copytree(SHIPPED / "countdown", tmp_path_factory.mktemp("model") / "countdown")
    told = json.loads((out / "config.json").read_text())
    told.pop("voices", None)
    (out / "config.json").write_text(json.dumps(told | {"model_type": "llama"}))
    tensors = load_file(out / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.endswith("voices")}
    save_file(kept, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load(folder)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running


def test_trl_trains_on_trees_sampled_on_a_server(
    example: Any, folder: Path, bundle: Bundle, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = RemoteEngine(Server(server.url, server.service.name), bundle.tokenizer)
    published, steps, paid, dice = [], [], list[float](), random.Random(0)
    sizes = {"max_steps": 2, "num_generations": 4, "per_device_train_batch_size": 8, "logging_steps": 1}
    quiet = {"disable_tqdm": True, "save_strategy": "no"}

    def reward(rollout: Rollout, step: int) -> float:
        paid.append(rollout.correct + dice.random())  # no group without variance
        return paid[-1]

    def publish(trainer: Any) -> None:
        published.append(trainer.model.lm_head.weight.detach().clone())

    trainer = example.trainer_for(folder, engine, reward, tmp_path, publish, **sizes, **quiet)
    sample = trainer.rollout_func
    trainer.rollout_func = lambda prompts, own: steps.append(sample(prompts, own)) or steps[-1]
    try:
        trainer.train()
    finally:
        engine.close()
    assert len(steps) == len(published) == 2
    assert (published[0] != published[1]).any()
    assert any(rollout.forked for step in steps for rollout in step["rollout"])
    for number, (step, told) in enumerate(zip(steps, trainer.state.log_history, strict=False)):
        rollouts = step["rollout"]
        assert len(rollouts) == 8
        for group in (rollouts[:4], rollouts[4:]):
            assert all(rollout.problem == group[0].problem for rollout in group)
        assert told["reward"] == pytest.approx(sum(paid[8 * number :][:8]) / 8, abs=1e-5)
        assert 0 < told["grad_norm"] < float("inf")
        for rollout, ids, mask in zip(rollouts, step["completion_ids"], step["env_mask"], strict=True):
            last = requests(rollout.root)[-1]
            assert (*rollout.root.given, *ids) == (*last.context, *last.written)
            assert sum(mask) == rollout.total


def test_a_tree_as_text_marks_what_was_written(example: Any) -> None:
    thread = Unit((7,), (8, 9), (-0.5, -0.25))
    root = Unit((1, 2), (3,), (-1.0,), (thread, Unit((7,), (6,), (-2.0,))), Unit((4,), (5,), (-3.0,)))
    assert example.as_text(root) == {
        "prompt_ids": [1, 2],
        "completion_ids": [3, 7, 8, 9, 7, 6, 4, 5],
        "env_mask": [1, 0, 1, 1, 0, 1, 0, 1],
        "logprobs": [-1.0, 0.0, -0.5, -0.25, 0.0, -2.0, 0.0, -3.0],
    }


def test_a_reward_keeps_its_name_and_sees_the_step(example: Any) -> None:
    own = example.as_trl(read_reward("parallel-r1:until=9"))
    rollouts = [Rollout("", Unit((1,), (2,), finish="stop"), right) for right in (True, False)]
    assert own.__name__ == "parallel_r1"
    assert own(rollout=rollouts, trainer_state=SimpleNamespace(global_step=8), prompts=[]) == [1.0, -1.0]

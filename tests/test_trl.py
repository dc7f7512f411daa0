"""The example for TRL: its trainer learns from trees that our client sampled on a server, paid by our rewards."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Running, serving

from miniapr.model.bundle import SHIPPED, Bundle, load
from miniapr.remote.client import Server
from miniapr.remote.engine import RemoteEngine
from miniapr.train.rewards import pay, read_reward
from miniapr.train.rollouts import Unit
from miniapr.train.trie import requests

pytest.importorskip("trl", reason="trl is not installed: pip install '.[trl]'")
FOLDER = SHIPPED / "countdown-roles"


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("trl_grpo", Path(__file__).parents[1] / "examples" / "trl_grpo.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(FOLDER)


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running


def test_trl_trains_on_trees_sampled_on_a_server(
    example: Any, bundle: Bundle, server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = RemoteEngine(Server(server.url, server.service.name), bundle.tokenizer)
    published, steps = [], []
    reward = read_reward("relative")
    sizes = {"max_steps": 2, "num_generations": 4, "per_device_train_batch_size": 8, "logging_steps": 1}
    quiet = {"report_to": [], "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "bf16": False}

    def publish(trainer: Any) -> None:
        published.append(trainer.model.lm_head.weight.detach().clone())

    trainer = example.trainer_for(FOLDER, engine, reward, tmp_path, publish, **sizes, **quiet)
    sample = trainer.rollout_func
    trainer.rollout_func = lambda prompts, own: steps.append(sample(prompts, own)) or steps[-1]
    try:
        trainer.train()
    finally:
        engine.close()
    assert len(steps) == len(published) == 2
    assert (published[0] != published[1]).any()
    for step, told in zip(steps, trainer.state.log_history, strict=False):
        rollouts = step["rollout"]
        assert len(rollouts) == 8 and any(rollout.forked for rollout in rollouts)
        for group in (rollouts[:4], rollouts[4:]):
            assert all(rollout.problem == group[0].problem for rollout in group)
        paid = pay(reward, rollouts)
        assert told["reward"] == pytest.approx(sum(paid) / 8, abs=1e-5)
        assert told["rewards/relative/mean"] == pytest.approx(told["reward"])
        assert 0 < told["grad_norm"] < float("inf") or all(rollout.correct for rollout in rollouts)
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

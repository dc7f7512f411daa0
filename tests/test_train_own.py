"""A model's own right answers as demonstrations: only what is right is kept, and learned as it was sampled."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import Run as Command

from miniapr.model.bundle import SHIPPED, load
from miniapr.rl.collect import as_json, collect, is_one_text, kept
from miniapr.rl.practice import practice
from miniapr.rl.rollouts import Rollout, Unit
from miniapr.rl.sampler import Sampler
from miniapr.tasks.states import State
from miniapr.tasks.terse import Countdown
from miniapr.train.config import TrainConfig
from miniapr.train.own import TREES, Own, as_text
from miniapr.train.sft import Run, weighted_loss
from miniapr.train.text import collate, pack

MODEL = "countdown"
FEW = {"problems": 4, "samples": 3, "counts": (3,), "tokens": 300}


def quiet(_: str) -> None:
    return None


def sampled(join: str = "stitch", method: str = "multiverse") -> list[Rollout]:
    bundle = load(MODEL)
    how = practice(bundle, method, join if method == "multiverse" else None, (3,), 300)
    problems = [State((7, 8, 3), 29), State((1, 13, 17), 52)]
    return Sampler(bundle.model, bundle.tokenizer, tokens=300).roll(how, problems, 2, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("own") / "trees"
    told = collect(MODEL, out, **FEW, keep=2, say=quiet)
    assert told["sampled"] == 12 and 0 < told["kept"] <= min(8, told["right"])
    return out


def test_what_is_kept_is_right(folder: Path) -> None:
    """By another way than it was judged: the text is read again, prompt and answer."""
    tokenizer, task = load(MODEL).tokenizer, Countdown()
    lines = [json.loads(line) for line in (folder / TREES).read_text().splitlines()]
    assert len({json.dumps(line) for line in lines}) == len(lines)
    for told in lines:
        prompt = tokenizer.decode(told["given"]).split()
        arrow = prompt.index("->")
        numbers = tuple(int(word) for word in prompt[:arrow] if word.isdecimal())
        last = told
        while "then" in last:
            last = last["then"]
        problem = State(numbers, int(prompt[arrow + 1]))
        assert task.verify(task.answer(tokenizer.decode(last["written"]), problem), problem).correct


def test_what_is_learned_is_what_was_sampled_as_it_was_sampled() -> None:
    """The loss of a stitched tree is the sum of the log-probabilities that sampling reported."""
    model = load(MODEL).model
    roots = [rollout.root for rollout in sampled() if rollout.forked]
    assert roots
    for root in roots:
        packed = pack(as_text(json.loads(json.dumps(as_json(root)))), "stitch")
        loss = weighted_loss(model, collate([packed], 0), total=1.0)
        reported = sum(p for unit in root for p in unit.logprobs)
        assert float(packed.weights.sum()) == root.total
        assert float(loss) == pytest.approx(-reported, rel=1e-3, abs=1e-3)


def test_only_what_is_right_well_formed_and_one_text_is_kept_each_once() -> None:
    good = next(rollout for rollout in sampled() if rollout.correct and rollout.forked)
    wrong = replace(good, correct=False)
    cut = replace(good, root=replace(good.root, finish="length"))
    by_hand = replace(good, root=good.root.bare)
    assert len(kept([wrong, good, cut, good, by_hand])) == 1
    assert kept([wrong, cut, by_hand]) == []


@pytest.mark.parametrize(
    ("method", "join", "whole"),
    [("multiverse", "stitch", True), ("multiverse", "reprefill", True), ("self-consistency", "", False)],
)
def test_one_text_is_what_the_end_stands_on(method: str, join: str, whole: bool) -> None:
    rollouts = [rollout for rollout in sampled(join, method) if rollout.forked]
    assert rollouts and all(is_one_text(rollout.root) == whole for rollout in rollouts)
    assert not is_one_text(Unit((1,), (2,)))


def test_a_model_learns_from_the_folder(folder: Path) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "layers": 1, "heads": 2, "batch_tokens": 400, "chunk_size": 4}
    run = Run(TrainConfig(demonstrations=str(folder), autocast=False, warmup_steps=1, **sizes))
    losses = [run.step() for _ in range(12)]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert run.source.about["demonstrations"]["kept"] == len(Own(folder).texts)
    assert run.source.about["control"] == load(MODEL).control


def test_a_model_can_go_on_with_its_own_answers(folder: Path) -> None:
    """Voices and all."""
    run = Run(TrainConfig(demonstrations=str(folder), start=str(SHIPPED / MODEL), autocast=False, batch_tokens=400))
    assert run.model.config == load(MODEL).model.config
    assert 0 < run.step() < 0.5  # of a model that knows nothing it is about 6


def test_the_commands(folder: Path, tmp_path: Path, run: Command) -> None:
    words = [
        "train",
        "collect",
        "--start",
        MODEL,
        "--counts=3",
        "--problems=3",
        "--samples=1",
        "--out",
        tmp_path / "own",
    ]
    code, out, said = run(*words)
    assert code == 0 and "demonstrations to" in out, said
    code, _, said = run(*words)
    assert code == 2 and "there already" in said
    code, _, said = run(*words[:-1], tmp_path / "other", "--method", "self-consistency")
    assert code == 2 and "nothing to keep" in said and not (tmp_path / "other").exists()
    for bad in ("problems", "samples", "keep", "tokens"):
        code, _, said = run(*words[:-1], tmp_path / "other", f"--{bad}=0")
        assert code == 2 and f"{bad} must be at least 1" in said
    code, _, said = run("train", "sft", "--demonstrations", tmp_path, "--out", tmp_path / "model")
    assert code == 2 and "no demonstrations" in said
    (tmp_path / "own" / TREES).write_text('{"given": [1]}\n')
    code, _, said = run("train", "sft", "--demonstrations", tmp_path / "own", "--out", tmp_path / "model")
    assert code == 2 and "no demonstrations" in said


def test_what_is_put_there_is_not_learned() -> None:
    root = Unit((1, 2), (3,), threads=(Unit((4,), (5, 6)),), then=Unit((7,), (8,)))
    packed = pack(as_text(json.loads(json.dumps(as_json(root)))), "reprefill")
    assert packed.tokens.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert torch.equal(packed.weights, torch.tensor([0.0, 0, 1, 0, 1, 1, 0, 1]))

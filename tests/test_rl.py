"""Reinforcement learning: a whole run in seconds, on policy, from its seed alone, and resumed bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Run as Command
from helpers import assert_trained_alike, backend_or_skip, make_engine, small_model
from torch import Tensor

from miniapr.engine import operations as op
from miniapr.engine.engine import Engine
from miniapr.engine.sampling import Sampling
from miniapr.model.bundle import load
from miniapr.rl.advantages import Objective
from miniapr.rl.loop import RLConfig, Run, train
from miniapr.rl.practice import Practice, practice
from miniapr.rl.rows import collate, logprobs
from miniapr.rl.sampler import Sampler, in_line
from miniapr.rl.update import learn, lessons
from miniapr.show import reinforce
from miniapr.tasks.countdown import Ranges
from miniapr.tasks.roles import Teacher
from miniapr.train import saved
from miniapr.train.config import TrainConfig
from miniapr.train.export import export
from miniapr.train.roles import Recipe, Shares
from miniapr.train.sft import train as train_sft

ADAPTIVE = Shares(**{**{field.name: 0.0 for field in dataclasses.fields(Shares)}, "adaptive": 1.0})
COIN = Recipe(ADAPTIVE, Teacher(full=1, narrow=0, tries=0, line=0.2), Ranges(3, 1, 5, 1, 20), four=0, two=1)
SIZES = TrainConfig(
    joins="stitch", tokens=60_000, batch_tokens=800, chunk_size=64, hidden_size=32, intermediate_size=48, layers=1,
    heads=2, warmup_steps=5, autocast=False, roles=COIN,
)  # fmt: skip
SHORT = "def short(rollout, step): return -rollout.total / 100\ndef hole(rollout, step): return float('nan')\n"
SHORT += "def alike(rollout, step): return 0.7\n"


def quiet(_: str) -> None:
    return None


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows the form, and hardly more."""
    folder = tmp_path_factory.mktemp("start")
    export(train_sft(SIZES, folder / "sft", say=quiet), folder / "sft", "miniapr train sft")
    (folder / "own.py").write_text(SHORT)
    return folder / "sft"


def config(start: Path, **options: Any) -> RLConfig:
    own = f"{start.parent / 'own.py'}:{options.pop('own', 'short')}"
    tiny: dict[str, Any] = {"counts": (2,), "tokens": 60, "steps": 2, "prompts": 3, "samples": 4, "part": 200}
    return RLConfig(str(start), **{"reward": own, **tiny, **options})


def weights(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("join", ["stitch", "stitch_contiguous", "stitch_copied", "reprefill"])
def test_every_step_is_on_policy_whatever_the_join(start: Path, join: str, tmp_path: Path) -> None:
    run = train(config(start, join=join), tmp_path / "run", say=quiet)
    assert [row["step"] for row in run.progress.curve] == [1, 2]
    assert all(0 < row["off"] < 1e-4 and row["norm"] > 0 and row["forked"] > 0 for row in run.progress.curve)


@pytest.mark.parametrize("flat", ["keep", "redraw"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(start: Path, tmp_path: Path, flat: str) -> None:
    options = config(start, flat=flat, updates=2, objective=Objective(clip=(0.2, 0.3), kl=0.01))
    whole = train(options, tmp_path / "whole", say=quiet)
    polls = iter((False, True))
    train(options, tmp_path / "halves", say=quiet, stop=lambda: next(polls))
    resumed = train(options, tmp_path / "halves", say=quiet)
    assert resumed.progress.step == 2 and same(weights(whole), weights(resumed))
    other = train(dataclasses.replace(options, seed=1), tmp_path / "other", say=quiet)
    assert not same(weights(whole), weights(other))
    with pytest.raises(ValueError, match="seed=0, this one has seed=1"):
        train(dataclasses.replace(options, seed=1), tmp_path / "halves", say=quiet)


def test_a_reward_that_is_no_number_stops_the_run_and_names_the_rollout(start: Path, tmp_path: Path) -> None:
    train(config(start, steps=1, own="short"), tmp_path / "run", say=quiet)
    run = Run(config(start, own="hole"))
    before = weights(run)
    with pytest.raises(ValueError, match=r"rollout 0 of step 0 .* is paid nan"):
        run.step()
    assert same(before, weights(run))


def test_a_reward_that_was_edited_is_another_one(start: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("def paid(rollout, step):\n    return float(rollout.total)\n")
    options = dataclasses.replace(config(start, steps=1), reward=f"{own}:paid")
    train(options, tmp_path / "run", say=quiet)
    own.write_text("def paid(rollout, step):\n    return -float(rollout.total)\n")
    with pytest.raises(ValueError, match=r"own\.py:paid as it was before: it has changed"):
        train(dataclasses.replace(options, steps=2), tmp_path / "run", say=quiet)


def test_a_full_disk_ends_no_run_and_the_last_checkpoint_stays(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    train(config(start, steps=1), tmp_path, say=quiet)
    before, said = (tmp_path / saved.CHECKPOINT).read_bytes(), list[str]()
    monkeypatch.setattr(saved, "save_file", full)
    with pytest.raises(OSError, match="cannot be written"):  # the one at the end
        train(config(start, steps=3), tmp_path, say=said.append, checkpoint_seconds=0)
    assert sum("going on from memory" in line for line in said) == 2
    assert (tmp_path / saved.CHECKPOINT).read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run_and_changes_nothing(start: Path) -> None:
    run = Run(config(start))
    rollouts, _, _ = run.explore()
    before = weights(run)
    with pytest.raises(RuntimeError, match="the loss is nan"):
        learn(run.model, run.optimizer, lessons(rollouts, [math.nan] * len(rollouts), "token"), Objective())
    assert same(before, weights(run)) and all(p.grad is None for p in run.model.parameters())


def test_how_a_batch_is_cut_into_parts_changes_nothing(start: Path) -> None:
    found = []
    for part in (60, 100_000):
        run = Run(config(start, part=part))
        run.step()
        found.append(weights(run))
    for name, tensor in found[0].items():
        assert_trained_alike(tensor, found[1][name], name)


def test_what_is_paid_becomes_likelier(start: Path) -> None:
    """One rollout against another: after a step the better one's log-probability has risen, the other's fallen."""
    run = Run(config(start))
    rollouts, _, _ = run.explore()
    given = lessons(rollouts[:2], [1.0, -1.0], "token")
    found = []
    for _ in range(2):
        rows = collate([lesson.row for lesson in given])
        with torch.no_grad():
            new, _ = logprobs(run.model, rows)
        found.append(new[rows.owner == 0].mean() - new[rows.owner == 1].mean())
        learn(run.model, run.optimizer, given, Objective())
    assert found[1] > found[0]


def test_groups_without_variance_are_found_dropped_or_drawn_again(start: Path) -> None:
    for flat, rollouts in (("keep", 12), ("drop", 0), ("redraw", 0)):
        row = Run(config(start, own="alike", flat=flat)).step()
        assert row["flat"] == 1.0 and row["rollouts"] == rollouts and row["norm"] == 0.0


def test_rollouts_of_one_prompt_share_its_prefill(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load(start)
    how = practice(bundle, counts=(2,), tokens=40)
    problem = how.draw(random.Random(0), "train")
    sampler, requests, submit = Sampler(bundle.model, bundle.tokenizer, tokens=40), [], Engine.submit
    monkeypatch.setattr(Engine, "submit", lambda *given: requests.append(submit(*given)) or requests[-1])
    costs = []
    for shared in (True, False):
        sampler.engine.kv.reuse_prefixes = shared
        requests.clear()
        rolled = sampler.roll(how, [problem], 4)
        costs.append(sum(request.cost.prefilled for request in requests[1:]))
        assert len(rolled) == 4 and len({rollout.root.written for rollout in rolled}) > 1
    assert costs[1] - costs[0] == 4 * (len(how.prompt(problem)) - 1)


def test_what_is_usual_is_the_mean_over_problems_of_the_batch_that_look_alike() -> None:
    lengths = {"ab": 10, "cd": 20, "efg": 7, "hij": None, "k": None}
    known = Practice(lambda *_: None, lambda *_: True, lambda *_: "", list, lengths.get)  # type: ignore[arg-type,return-value]
    assert in_line(known, list(lengths)) == [(10, 15), (20, 15), (7, 7), (None, 7), (None, None)]


def test_a_running_engine_takes_new_weights_and_forgets_old_keys() -> None:
    """F18: what it samples then is what a new engine samples, although the prompt was in the prefix cache."""
    old, new = small_model(dtype=torch.float32), copy.deepcopy(small_model(dtype=torch.float32))
    with torch.no_grad():
        for weight in new.parameters():
            weight.mul_(1.2)
    prompt, warm = [1, 2, 3, 4, 5, 6], Sampling(temperature=1.0, seed=5)

    def program() -> Any:
        root = yield op.Start(prompt, warm)
        return (yield op.Decode([root], max_tokens=6))

    for backend in ("reference", "cpp"):
        engine, fresh = (make_engine(copy.deepcopy(m), backend_or_skip(backend)) for m in (old, new))
        before = engine.run(program())
        held = engine.start(prompt)
        with pytest.raises(ValueError, match="1 requests stand on keys"):
            engine.renew(new.state_dict())
        engine.release(held)
        engine.renew(new.state_dict())
        assert engine.run(program()) == fresh.run(program()) != before


def test_the_command_trains_writes_a_model_and_says_what_is_wrong(start: Path, tmp_path: Path, run: Command) -> None:
    own = f"{start.parent / 'own.py'}:short"
    few = ["--counts", 2, "--tokens=30", "--steps=1", "--prompts=2", "--samples=2", "--threads=1", "--reward", own]
    code, out, _ = run("train", "rl", "--start", start, "--out", tmp_path / "rl", *few)
    assert code == 0 and "step    1" in out and (tmp_path / "rl" / "curve.png").exists()
    made = load(tmp_path / "rl")
    assert made.about["provenance"]["reward"] == own and made.about["roles"] == ["adaptive"]
    for wrong, said in (("--reward=kindness", "no reward"), ("--samples=1", "samples"), ("--method=luck", "no method")):
        code, _, err = run("train", "rl", "--start", start, "--out", tmp_path / "new", *few, wrong)
        assert code == 2 and said in err and "Traceback" not in err and not (tmp_path / "new" / "config.json").exists()


def test_ctrl_c_leaves_a_model_that_loads_and_a_run_that_goes_on(
    start: Path, tmp_path: Path, run: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pressed(reinforce.Interrupt):
        """As if Ctrl-C were pressed during the first step."""

        def __call__(self) -> bool:
            self.requested, before = True, self.requested
            return before

    monkeypatch.setattr(reinforce, "Interrupt", Pressed)
    few = ["--counts", 2, "--tokens=30", "--steps=2", "--prompts=2", "--samples=2", "--threads=1"]
    words = ["train", "rl", "--start", start, "--out", tmp_path / "rl", *few]
    assert run(*words)[0] == 130 and load(tmp_path / "rl").about["provenance"]["steps"] == 1
    monkeypatch.undo()
    code, out, _ = run(*words)
    assert code == 0 and "resuming at step 1" in out and "after 2 of 2" in out

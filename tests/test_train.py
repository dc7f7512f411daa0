"""Packing, optimiser and training loop."""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miniapr.model import bundle
from miniapr.train import command
from miniapr.train.config import TrainConfig
from miniapr.train.export import export
from miniapr.train.initialize import initialize
from miniapr.train.optim import Optimizer, orthogonalize
from miniapr.train.roles import Recipe, Roles, Shares
from miniapr.train.sft import Progress, rate, train, weighted_loss
from miniapr.train.stream import Stream
from miniapr.train.text import Packed, batches, collate

SOURCE = Roles(Recipe())
VOCABULARY = SOURCE.vocabulary
TINY = TrainConfig(
    tokens=60_000, batch_tokens=600, chunk_size=8, hidden_size=16, intermediate_size=24, layers=1, heads=2
)


def packed(seed: int) -> Packed:
    return SOURCE(random.Random(seed))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=12), st.integers(1, 2000))
@settings(deadline=None, max_examples=25)
def test_batches_hold_every_sequence_once_within_the_budget(seeds: list[int], budget: int) -> None:
    sequences = [packed(seed) for seed in seeds]
    groups = list(batches(sequences, budget))
    assert sorted(map(id, sequences)) == sorted(id(s) for group in groups for s in group)
    for group in groups:
        assert len(group) == 1 or len(group) * max(map(len, group)) <= budget


def test_padding_sees_itself_and_weighs_nothing() -> None:
    sequences = [packed(seed) for seed in (1, 2, 3)]
    batch = collate(sequences, VOCABULARY.ids["<pad>"])
    assert batch.visible.any(-1).all()
    for row, sequence in enumerate(sequences):
        end = len(sequence)
        assert torch.equal(batch.visible[row, :end, :end], sequence.visible)
        assert not batch.visible[row, :end, end:].any()
        assert batch.weights[row, end:].sum() == 0
    assert batch.size == sum(map(len, sequences))


def test_chunks_are_the_same_whoever_makes_them() -> None:
    stream = Stream(1, SOURCE, chunk_size=8, batch_tokens=500)
    alone, helped = stream.chunks(3), stream.chunks(3, workers=1)
    for _ in range(3):
        for a, b in zip(next(alone), next(helped), strict=True):
            assert torch.equal(a.tokens, b.tokens) and torch.equal(a.visible, b.visible) and a.size == b.size
    helped.close()


def test_streams_that_differ_in_joins_alone_hold_the_same_demonstrations() -> None:
    shares = Shares(**(dict.fromkeys(asdict(Shares()), 0.0) | {"adaptive": 0.8, "sequential": 0.2}))
    chunks = [
        Stream(1, Roles(Recipe(shares), joins), chunk_size=30, batch_tokens=2000).groups(0)
        for joins in ("both", "stitch", "reprefill")
    ]
    texts = [[s.tokens.tolist() for group in chunk for s in group] for chunk in chunks]
    assert texts[0] == texts[1] == texts[2]
    straight = [[bool((s.positions.diff() == 1).all()) for g in chunk for s in g] for chunk in chunks]
    assert all(straight[2]) and not all(straight[1]) and sum(straight[1]) < sum(straight[0]) < sum(straight[2])


def test_where_nobody_has_a_voice_none_is_computed_and_the_loss_is_the_same() -> None:
    model = initialize(TINY.model(SOURCE.tokenizer.get_vocab_size()), seed=0)
    silent = next(b for b in Stream(0, SOURCE, chunk_size=8, batch_tokens=600).chunk(0) if not b.voices.any())
    weighted_loss(model, silent, 1.0).backward()
    without = [p.grad for name, p in model.named_parameters() if not name.endswith("voices")]
    assert all(p.grad is None for name, p in model.named_parameters() if name.endswith("voices"))
    spoken = replace(silent, voices=silent.voices.clone())
    spoken.voices[0, -1] = 1  # of a token that nobody learns from: the last predicts nothing
    model.zero_grad()
    weighted_loss(model, spoken, 1.0).backward()
    for (name, p), before in zip(
        [(n, p) for n, p in model.named_parameters() if not n.endswith("voices")], without, strict=True
    ):
        assert p.grad is not None and before is not None
        torch.testing.assert_close(p.grad, before, msg=name)
    said = [p.grad for name, p in model.named_parameters() if name.endswith("voices")]
    assert all(grad is not None and not grad.any() for grad in said)


def test_orthogonalize_flattens_the_singular_values() -> None:
    matrices = torch.randn(3, 32, 80, generator=torch.Generator().manual_seed(0))
    for shape in (matrices, matrices.mT):
        values = torch.linalg.svdvals(orthogonalize(shape))
        assert values.min() > 0.5 and values.max() < 1.4


def test_the_rate_warms_up_stays_and_falls() -> None:
    config = TrainConfig(tokens=1000, warmup_steps=10)
    assert rate(config, Progress(step=0)) == pytest.approx(0.1)
    assert rate(config, Progress(step=50, tokens=300)) == 1
    assert rate(config, Progress(step=50, tokens=1000)) == pytest.approx(config.floor)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def quiet(_: str) -> None:
        return None

    whole = train(TINY, tmp_path / "whole", say=quiet, stop_after=23)
    train(TINY, tmp_path / "cut", say=quiet, stop_after=9)
    resumed = train(TINY, tmp_path / "cut", say=quiet, stop_after=23)
    assert whole.progress.step == resumed.progress.step == 23
    assert whole.progress.tokens == resumed.progress.tokens
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for name, tensor in whole.optimizer.tensors().items():
        assert torch.equal(tensor, resumed.optimizer.tensors()[name]), name
    with pytest.raises(ValueError, match="seed"):
        train(TrainConfig(**{**vars(TINY), "seed": 5}), tmp_path / "cut", say=quiet, stop_after=24)


def test_the_budget_may_change_until_the_rate_falls(tmp_path: Path) -> None:
    def quiet(_: str) -> None:
        return None

    less, more = replace(TINY, tokens=20_000), TINY
    whole = train(less, tmp_path / "whole", say=quiet)
    begun = train(more, tmp_path / "cut", say=quiet, stop_after=9)
    assert 0 < begun.progress.tokens <= 0.3 * 20_000
    resumed = train(less, tmp_path / "cut", say=quiet)
    assert whole.progress.step == resumed.progress.step
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    # Too late: under one of the two budgets the rate would have fallen by now.
    late = train(more, tmp_path / "late", say=quiet, stop_after=40)
    assert late.progress.tokens > 0.3 * 20_000
    with pytest.raises(ValueError, match=r"tokens=60000, this one has tokens=20000"):
        train(less, tmp_path / "late", say=quiet)
    with pytest.raises(ValueError, match=r"tokens=20000, this one has tokens=60000"):
        train(more, tmp_path / "cut", say=quiet)


def test_a_run_can_begin_with_the_weights_of_another(tmp_path: Path) -> None:
    first = train(TINY, tmp_path / "first", say=lambda _: None, stop_after=5)
    export(first, tmp_path / "first", "a test")
    start = str(tmp_path / "first")
    second = train(replace(TINY, start=start, seed=1), tmp_path / "second", say=lambda _: None, stop_after=0)
    for (name, a), b in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a.half(), b.half()), name
    assert second.progress.step == 0
    export(second, tmp_path / "second", "another")
    told = json.loads((tmp_path / "second" / "miniapr.json").read_text())["provenance"]
    assert told["command"] == "another" and told["start"]["command"] == "a test"
    with pytest.raises(ValueError, match="hidden_size=16, this run hidden_size=32"):
        train(replace(TINY, start=start, hidden_size=32), tmp_path / "third", stop_after=0)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    said: list[str] = []
    run = train(TINY, tmp_path, say=said.append, report_steps=20, stop_after=100)
    losses = [point["loss"] for point in run.progress.curve]
    assert losses[-1] < 0.8 * losses[0]
    assert "tokens/s" in said[0] and "min left" in said[0]
    assert json.dumps(run.progress.curve)


@pytest.mark.parametrize("bad", [{"tokens": 0}, {"heads": 3}, {"joins": "neither"}])
def test_bad_options_are_named(bad: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        train(TrainConfig(**bad), tmp_path, stop_after=0)  # type: ignore[arg-type]


def test_the_optimizer_splits_by_kind() -> None:
    model = initialize(TINY.model(len(VOCABULARY)), 0)
    optimizer = Optimizer(model)
    assert all("_proj" in name for name in optimizer.matrices)
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= optimizer.others.keys()


def test_the_command_trains_exports_and_says_how_it_was_made(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    sizes = {"--tokens": 1500, "--layers": 1, "--hidden-size": 16, "--intermediate-size": 24, "--heads": 2}
    options = [str(word) for pair in sizes.items() for word in pair] + ["--joins", "stitch"]
    args = parser.parse_args([*options, "--out", str(tmp_path)])
    command.run(args)
    loaded = bundle.load(tmp_path)
    made = loaded.about["provenance"]["command"]
    assert "--joins stitch" in made and "--tokens 1500" in made and "--seed" not in made
    assert loaded.control["plan_end"] == "</plan>"
    assert loaded.model.config.num_hidden_layers == 1
    assert (tmp_path / "model.safetensors").stat().st_size < 100_000
    assert json.loads((tmp_path / "curve.json").read_text())

"""Voices: a branch that marks what it writes (ParaThinker, Wen et al. 2025, section 3)."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import Letters, backend_or_skip, dense_logits, distance, make_engine, plain_logits, small_model
from torch import Tensor

from miniapr.engine.engine import Engine
from miniapr.engine.graphs import Graphs
from miniapr.kv.pool import BlockPool
from miniapr.model.checkpoint import load, save
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.ops import PlanBuilder, reference
from miniapr.train.initialize import initialize
from miniapr.train.optim import Optimizer
from miniapr.train.sft import weighted_loss
from miniapr.train.text import Text, collate, pack

TEXT = [3, 1, 4, 1, 5, 9, 2]


def said(model: Decoder, voices: list[int] | None) -> Tensor:
    n = len(TEXT)
    given = torch.tensor([TEXT]), torch.arange(n)[None], torch.ones(1, n, n, dtype=torch.bool).tril()
    return model.dense(*given, voices=None if voices is None else torch.tensor([voices]))[0]


def test_a_voice_is_added_to_keys_before_rotation_and_to_values() -> None:
    """One that says all is a bias of keys and values, which Qwen has and which is tested against Hugging Face."""
    model = small_model(voices=2)
    biased = Decoder(replace(model.config, voices=0, model_type="qwen2")).double().requires_grad_(False)
    biased.load_state_dict(model.state_dict(), strict=False)
    for mine, its in zip(model.model.layers, biased.model.layers, strict=True):
        torch.nn.init.zeros_(its.self_attn.q_proj.bias)
        for part in (its.self_attn.k_proj, its.self_attn.v_proj):
            part.bias.data = mine.self_attn.voices[1].repeat(model.config.num_key_value_heads)
    assert distance(said(model, [2] * len(TEXT)), said(biased, None)) < 1e-12


def test_voice_none_and_voices_of_zeros_change_no_bit() -> None:
    model, silent = small_model(voices=2), copy.deepcopy(small_model(voices=2))
    for layer in silent.model.layers:
        layer.self_attn.voices.zero_()
    want = said(model, None)
    assert torch.equal(said(model, [0] * len(TEXT)), want)
    assert torch.equal(said(silent, [0, 1, 2, 0, 1, 2, 1]), want)
    assert distance(said(model, [0, 0, 0, 1, 1, 0, 0]), want) > 1e-2


def test_what_is_said_in_a_voice_is_no_prefix_of_anybody() -> None:
    model = small_model(voices=2)
    engine = make_engine(model, block_size=1)
    root = engine.start([5, 6, 7])
    one, two, none = engine.fork(root, [[8, 9], [8, 9], [8, 9]], voices=[1, 2, 0])
    for branch in (one, two):
        engine.settle(branch)
        assert not branch.span.causal
        engine.release(branch)
    assert len(engine.kv.match([5, 6, 7, 8, 9, 1])) == 3
    assert distance(engine.settle(none).logits, plain_logits(model, [5, 6, 7, 8, 9])) < 1e-10


def test_a_fork_in_a_voice_goes_on_in_it_and_what_follows_a_join_is_the_parents() -> None:
    engine = make_engine(small_model(voices=2))
    root = engine.start([5, 6, 7])
    left, right = engine.fork(root, [[8], [9]], voices=[2, 1])
    below = engine.fork(left, [[3], [4]])
    assert [branch.span.voice for branch in below] == [2, 2]
    left = engine.join(left, below, "stitch", then=[1])
    assert left.span.voice == 2
    commit = engine.commit(left)
    engine.checkout(commit)
    assert [left.span.voice, right.span.voice] == [2, 1]
    assert engine.join(root, [left, right], "reprefill", then=[1]).span.voice == 0


@pytest.mark.parametrize(
    "model, voices, why",
    [
        (0, [1, 0], "the model has 0"),
        (2, [1], "1 voices for 2"),
        (2, [1, 3], "no voice 3"),
        (2, [0, -1], "no voice -1"),
    ],
)
def test_a_fork_says_what_is_wrong_with_its_voices(model: int, voices: list[int], why: str) -> None:
    engine = make_engine(small_model(voices=model))
    root = engine.start([5, 6])
    with pytest.raises(ValueError, match=why):
        engine.fork(root, [[1], [2]], voices=voices)
    assert not root.children


@pytest.mark.parametrize("name", ["cpp", "cuda (emulated)"])
def test_a_captured_step_knows_voices(name: str) -> None:
    ops = backend_or_skip(name)
    model = copy.deepcopy(small_model(voices=3)).float()
    model = model.pack() if name == "cpp" else model
    config = model.config
    shape = (16, 4, config.num_hidden_layers, config.num_key_value_heads, config.head_dim)
    captured, plain = BlockPool(*shape), BlockPool(*shape)
    graphs = Graphs(model, captured.k_cache, captured.v_cache, ops)
    with torch.inference_mode():
        for voices in ([1, 2, 0, 3], None, [3, 3, 1, 0], [0, 0, 0, 2]):
            builder = PlanBuilder()
            for row in range(4):
                builder.see(row, [row], 0, 1, 0, 1, 0)
                builder.end_rows(1)
            given = torch.tensor([1, 2, 3, 4]), torch.arange(4), torch.arange(4) * 4, builder.build(), None
            batch = model.batch(*given, None if voices is None else torch.tensor(voices))
            want = model.compute(batch, plain.k_cache, plain.v_cache, ops)
            torch.testing.assert_close(graphs.compute(batch), want, rtol=0, atol=1e-5)
    assert graphs.captures is not None


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_model_with_voices_is_written_and_read_and_hugging_face_refuses_its_name(
    tmp_path: Path, interleaved: bool
) -> None:
    model = small_model(interleaved=interleaved, voices=2)
    save(model, tmp_path)
    again = load(tmp_path, torch.float64, pack=False)
    assert again.config == model.config
    voices = [0, 1, 2, 0, 1, 2, 1]
    assert distance(said(again, voices), said(model, voices)) == 0
    assert model.config.to_dict()["model_type"] == "llama-voices"
    transformers = pytest.importorskip("transformers")
    with pytest.raises(ValueError, match="llama-voices"):
        transformers.AutoConfig.from_pretrained(tmp_path)


def test_without_its_voices_a_model_is_an_ordinary_one_that_says_the_same(tmp_path: Path) -> None:
    model = small_model(interleaved=False, voices=2)
    save(model, tmp_path, voices=False)
    again = load(tmp_path, torch.float64, pack=False)
    assert again.config.voices == 0 and again.config.to_dict()["model_type"] == "llama"
    assert distance(said(again, None), said(model, [0] * 7)) == 0


def test_a_model_without_voices_is_written_as_ever() -> None:
    config = small_model().config
    assert "voices" not in config.to_dict() and ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="voices"):
        replace(config, voices=-1)


def test_training_shows_each_token_in_its_voice_and_the_voices_learn() -> None:
    model = initialize(replace(small_model().config, vocab_size=500, voices=2), 0)
    assert not any(layer.self_attn.voices.any() for layer in model.model.layers)
    threads = tuple(Text((7, 8, 9), (0.0, 1.0, 1.0), voice=voice) for voice in (1, 2))
    text = Text((5, 6), (0.0, 0.0), threads, Text((3, 4), (0.0, 1.0)))
    batch = collate([pack(text, "stitch"), pack(text, "reprefill")], pad=0)
    assert batch.voices[0].tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 0, 0]
    assert not batch.voices[1].any()
    optimizer = Optimizer(model)
    for _ in range(2):  # what writes into the residual stream is zero at first
        model.zero_grad()
        weighted_loss(model, batch, total=1.0).backward()
        optimizer.step(1.0)
    assert all(layer.self_attn.voices.any() for layer in model.model.layers)


def test_the_engine_agrees_with_unroll_where_voices_are_stitched() -> None:
    model = small_model(voices=2)
    engine = Engine(model, Letters(), backend=reference)
    root = engine.start([5, 6, 7])
    branches = engine.fork(root, [[8, 9], [8, 9]], voices=[1, 2])
    engine.decode(branches, max_tokens=3)
    joined = engine.settle(engine.join(root, branches, "stitch_contiguous", then=[2]))
    assert distance(joined.logits, dense_logits(joined, model)) < 1e-10
    assert distance(joined.logits, dense_logits(joined, model, silent=True)) > 1e-3

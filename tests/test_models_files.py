"""Hugging Face folders: what changes numbers is honoured or refused by name; what is written, transformers reads."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import distance, plain_logits, small_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from miniapr.model import bundle, checkpoint, families
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.rope import RopeScaling

TEXT = torch.arange(300) % 29
SMALL = small_model().config


def logits(model: Decoder) -> torch.Tensor:
    n = len(TEXT)
    return model.dense(TEXT[None], torch.arange(n)[None], torch.ones(1, n, n, dtype=torch.bool).tril())[0]


def in_transformers(folder: Path) -> torch.Tensor:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    with torch.no_grad():
        found: torch.Tensor = model.eval()(TEXT[None]).logits[0]
    return found


def model_of(**changes: Any) -> Decoder:
    """Random weights, biases and scales too."""
    model = Decoder(dataclasses.replace(SMALL, **changes)).double().requires_grad_(False)
    g = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=g) * 0.4 + (parameter.dim() == 1))
    return model


# What is written


YARN = RopeScaling("yarn", 4.0, 64, attention=1.7)
WRITTEN: dict[str, dict[str, Any]] = {
    "plain": {},
    "interleaved": {"rope_interleaved": True},
    "qwen2, interleaved biases": {"rope_interleaved": True, "model_type": "qwen2"},
    "qwen3, interleaved norms": {"rope_interleaved": True, "model_type": "qwen3"},
    "linear": {"rope_scaling": RopeScaling("linear", 3.0)},
    "llama3": {"rope_scaling": RopeScaling("llama3", 8.0, 64, low_freq_factor=1.5, high_freq_factor=5.0)},
    "yarn": {"rope_scaling": YARN, "rope_interleaved": True},
    "yarn, untruncated": {"rope_scaling": dataclasses.replace(YARN, truncate=False, beta_fast=20.0, beta_slow=2.0)},
    "factors written out": {"rope_scaling": RopeScaling("each", factors=(1.0, 2.0, 3.5, 8.0))},
}


@pytest.mark.parametrize("what", WRITTEN)
def test_f57_a_folder_that_is_written_is_the_same_model_in_transformers(tmp_path: Path, what: str) -> None:
    model = model_of(**WRITTEN[what])
    wanted = logits(model)
    checkpoint.save(model, tmp_path)
    assert distance(in_transformers(tmp_path), wanted) < 1e-4 * wanted.abs().max()  # their angles are float32
    again = checkpoint.load(tmp_path, torch.float64, pack=False)
    assert distance(logits(again), wanted) < 1e-9
    assert again.config == dataclasses.replace(model.config, rope_interleaved=False)


def test_f57_without_the_new_order_it_would_be_another_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "half_split", lambda config, name, tensor: tensor)
    model = model_of(rope_interleaved=True)
    checkpoint.save(model, tmp_path)
    assert distance(in_transformers(tmp_path), logits(model)) > 0.1


def test_a_model_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.save(model_of(), tmp_path)
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(tensors: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"the first half")
        raise SafetensorError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ValueError, match=r"cannot be written.*no space left"):
        checkpoint.save(model_of(model_type="qwen3"), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old
    with pytest.raises(ValueError, match="cannot be written"):
        checkpoint.save(model_of(), tmp_path / "config.json")


def test_a_model_is_saved_over_the_folder_it_came_from(tmp_path: Path) -> None:
    checkpoint.save(model_of(), tmp_path)
    model = checkpoint.load(tmp_path, torch.float64, pack=False)
    checkpoint.save(model, tmp_path)
    assert torch.equal(logits(checkpoint.load(tmp_path, torch.float64, pack=False)), logits(model_of()))


# What is read


def change(folder: Path, **tensors: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}, file)


def test_a_head_of_its_own_goes_before_what_the_configuration_says(tmp_path: Path) -> None:
    checkpoint.save(model_of(tie_word_embeddings=True), tmp_path)
    tied = logits(checkpoint.load(tmp_path, torch.float64))
    embeddings = load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"]
    change(tmp_path, lm_head__weight=embeddings.clone())
    same = checkpoint.load(tmp_path, torch.float64)
    assert same.config.tie_word_embeddings and torch.equal(logits(same), tied)
    change(tmp_path, lm_head__weight=embeddings + 0.5)
    other = checkpoint.load(tmp_path, torch.float64)
    assert not other.config.tie_word_embeddings
    wanted = in_transformers(tmp_path)
    assert distance(logits(other), wanted) < 1e-4 * wanted.abs().max()
    assert distance(tied, wanted) > 0.1


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool], ids=str)
def test_a_type_of_weights_that_is_not_read_is_named(tmp_path: Path, kind: torch.dtype) -> None:
    checkpoint.save(model_of(), tmp_path)
    change(tmp_path, model__norm__weight=torch.ones(16).to(kind))
    with pytest.raises(ValueError, match=r"'model.norm.weight' is (F8_E4M3|F8_E5M2|I8|BOOL), only F32, F16, BF16, F64"):
        checkpoint.load(tmp_path)


def test_numbers_too_large_for_the_type_that_is_asked_for_are_named(tmp_path: Path) -> None:
    model = model_of()
    model.model.norm.weight[3] = 70_000
    with pytest.raises(ValueError, match=r"model\.norm\.weight holds values that are not finite numbers in float16"):
        checkpoint.save(model, tmp_path, torch.float16)
    checkpoint.save(model, tmp_path, torch.float32)
    with pytest.raises(ValueError, match=r"model\.norm\.weight' holds values that are not finite numbers in float16"):
        checkpoint.load(tmp_path, torch.float16)
    assert checkpoint.load(tmp_path, torch.bfloat16).model.norm.weight.max() == 70_144


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5_000, '"', "\ud800".encode("utf-16-le", "surrogatepass")])
def test_a_configuration_that_is_no_json_is_named(tmp_path: Path, text: str | bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        checkpoint.load(tmp_path)


HEADERS = {
    "a long header": (2**60).to_bytes(8, "little"),
    "no JSON": (2).to_bytes(8, "little") + b"{]",
    "deep JSON": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "a list": (2).to_bytes(8, "little") + b"[]",
    "no text": (1).to_bytes(8, "little") + b"\xff",
    **{
        what: len(entry).to_bytes(8, "little") + entry
        for what, entry in {
            "nothing of a tensor": b'{"t": {}}',
            "no tensor": b'{"t": 1}',
            "beyond the end": b'{"t": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
            "backwards": b'{"t": {"dtype": "F32", "shape": [0], "data_offsets": [0, -4]}}',
            "another size": b'{"t": {"dtype": "F32", "shape": [7], "data_offsets": [0, 0]}}',
            "a shape of text": b'{"t": {"dtype": "F32", "shape": "7", "data_offsets": [0, 0]}}',
            "three offsets": b'{"t": {"dtype": "F32", "shape": [], "data_offsets": [0, 0, 0]}}',
        }.items()
    },
}


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_is_not_believed_beyond_the_end_of_the_file(tmp_path: Path, what: str) -> None:
    checkpoint.save(model_of(), tmp_path)
    (tmp_path / "model.safetensors").write_bytes(HEADERS[what])
    with pytest.raises(ValueError, match=r"model\.safetensors is not a safetensors file, or is cut short"):
        checkpoint.load(tmp_path)


SAID = {key: value for key, value in SMALL.to_dict().items() if value is not None}


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number.*is 0"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers must be a whole number.*is 2.0"),
        ({"num_hidden_layers": True}, "num_hidden_layers must be a whole number.*is True"),
        ({"hidden_size": "16"}, "hidden_size must be a whole number.*is '16'"),
        ({"vocab_size": [29]}, r"vocab_size must be a whole number.*is \[29\]"),
        ({"vocab_size": 2**62}, "vocab_size must be a whole number from 1 to 1073741823"),
        ({"num_attention_heads": 2**28, "head_dim": 8}, "num_attention_heads . head_dim must be a whole number"),
        ({"rope_theta": 0}, "rope_theta must be a number above 0, is 0"),
        ({"rope_theta": "10000"}, "rope_theta must be a number above 0, is '10000'"),
        ({"rope_theta": float("nan")}, "rope_theta must be a number above 0, is nan"),
        ({"rope_theta": 0.5}, "rope_theta=0.5 must be above 1"),
        ({"rms_norm_eps": -1e-5}, "rms_norm_eps must be a number above 0"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, is 'yes'"),
        ({"head_dim": None, "hidden_size": 15, "num_attention_heads": 4}, "hidden_size=15 is not a multiple"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"layer_types": 3}, "layer_types"),
        ({"rope_scaling": ["yarn"]}, "rope_scaling must be an object"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2, "mrope_section": [1]}}, r"mrope_section=\[1\]"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 5.0}}}, "full_attention="),
        ({"rope_scaling": {"rope_type": "each", "factor": 2.0}}, "0 factors of its own"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "4"}}, "factor must be a number above 0, is '4'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 0.5}}, "beta_slow=1.0 must be below"),
        ({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}}, "'longrope' is not"),
        ({"num_hidden_layers": 10**9}, "1000000000 layers, but only 21 tensors"),
    ],
    ids=str,
)
def test_a_number_that_is_none_is_refused_with_its_name(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    checkpoint.save(model_of(), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**SAID, **changes}))
    with pytest.raises(ValueError, match=why) as caught:
        checkpoint.load(tmp_path)
    assert str(tmp_path) in str(caught.value)


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.integers(), max_size=3)
)
ROPE_KEYS = ["rope_type", "type", "factor", "original_max_position_embeddings", "attention_factor", "mscale",
             "mscale_all_dim", "beta_fast", "low_freq_factor", "truncate", "short_factor", "long_factor"]  # fmt: skip
TYPES = st.sampled_from(["yarn", "llama3", "linear", "longrope"])
ROPES = st.dictionaries(st.sampled_from(ROPE_KEYS), ANYTHING | TYPES)
KEYS = [*SAID, "layer_types", "n_embd", "n_head", "hidden_act"]


@given(
    family=st.sampled_from(["llama", "qwen2", "qwen3", "gpt2"]),
    odd=st.dictionaries(st.sampled_from(KEYS), ANYTHING, max_size=3),
    rope=ANYTHING | ROPES,
)
def test_any_configuration_is_a_decoder_or_a_sentence(family: str, odd: dict[str, Any], rope: Any) -> None:
    try:
        config = ModelConfig.from_dict({**SAID, "model_type": family, "rope_scaling": rope, **odd})
    except ValueError:
        return
    with torch.device("meta"):
        model = Decoder(dataclasses.replace(config, num_hidden_layers=1))
        text, seen = torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, 2, dtype=torch.bool)
        assert model.dense(text, text, seen).shape == (1, 2, config.vocab_size)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_original_context_beside_the_scaling_goes_before(tmp_path: Path) -> None:
    checkpoint.save(model_of(rope_scaling=YARN), tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "original_max_position_embeddings": 16}))
    found = checkpoint.load(tmp_path, torch.float64)
    assert found.config.rope_scaling == dataclasses.replace(YARN, original_max_position_embeddings=16)
    wanted = in_transformers(tmp_path)
    assert distance(logits(found), wanted) < 1e-4 * wanted.abs().max()


def test_of_a_cached_model_the_revision_that_main_names_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--someone--small"
    for age, commit in enumerate(("aaa", "bbb", "ccc")):
        file = model / "snapshots" / commit / "config.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        os.utime(file, (age, age))
    assert bundle.hub()["someone/small"].name == "ccc"  # nobody asked for a branch
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("bbb\n")
    assert bundle.hub()["someone/small"].name == "bbb"
    (model / "refs" / "main").write_text("ddd")  # asked for, and not here yet
    assert "someone/small" not in bundle.hub()


def test_plain_and_packed_models_do_not_share_a_file_with_anybody(tmp_path: Path) -> None:
    """What a caller may do to a model stays in it."""
    checkpoint.save(model_of(), tmp_path)
    one, two = (checkpoint.load(tmp_path, torch.float64, pack=False) for _ in range(2))
    one.model.norm.weight.zero_()
    assert plain_logits(one, [1, 2]).abs().max() == 0 and plain_logits(two, [1, 2]).abs().max() > 0

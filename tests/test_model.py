"""The decoder against a second one written naively, its checkpoints, its configuration, its tokenizer."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import RATIOS, distance, plain_logits, small_model
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Inner

from miniapr.model import checkpoint
from miniapr.model.config import ModelConfig
from miniapr.model.decoder import Decoder
from miniapr.model.rope import cos_sin, rotate
from miniapr.model.tokenizer import Tokenizer

TEXT = [3, 1, 4, 1, 5, 9, 2, 6]


def naive(model: Decoder, tokens: list[int]) -> torch.Tensor:
    """Logits after causal text, one token, one head, one pair of dimensions at a time; rotations as complex numbers."""
    c, w = model.config, {name: tensor.double() for name, tensor in model.state_dict().items()}
    half = c.head_dim // 2

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.pow(2).mean() + c.rms_norm_eps).sqrt() * w[name]

    def turned(x: torch.Tensor, position: int) -> torch.Tensor:
        pairs = [(2 * i, 2 * i + 1) if c.rope_interleaved else (i, i + half) for i in range(half)]
        out = x.clone()
        for i, (a, b) in enumerate(pairs):
            angle = position * c.rope_theta ** (-2 * i / c.head_dim)
            z = complex(x[a], x[b]) * complex(math.cos(angle), math.sin(angle))
            out[a], out[b] = z.real, z.imag
        return out

    xs = [w["model.embed_tokens.weight"][t] for t in tokens]
    for number in range(c.num_hidden_layers):
        at = f"model.layers.{number}"
        keys, values, out = [], [], []
        for position, x in enumerate(xs):
            h = norm(x, f"{at}.input_layernorm.weight")
            q, k, v = ((w[f"{at}.self_attn.{p}_proj.weight"] @ h).split(c.head_dim) for p in ("q", "k", "v"))
            keys.append([turned(head, position) for head in k])
            values.append(v)
            heads = []
            for i, query in enumerate(q):
                g = i * c.num_key_value_heads // c.num_attention_heads
                scores = torch.stack([turned(query, position) @ key[g] for key in keys]) / math.sqrt(c.head_dim)
                heads.append(sum(p * value[g] for p, value in zip(scores.softmax(0), values, strict=True)))
            mixed = x + w[f"{at}.self_attn.o_proj.weight"] @ torch.cat(heads)
            h = norm(mixed, f"{at}.post_attention_layernorm.weight")
            gate, up = (w[f"{at}.mlp.{p}_proj.weight"] @ h for p in ("gate", "up"))
            out.append(mixed + w[f"{at}.mlp.down_proj.weight"] @ (gate * gate.sigmoid() * up))
        xs = out
    return w["lm_head.weight"] @ norm(xs[-1], "model.norm.weight")


@pytest.mark.parametrize("interleaved", [False, True], ids=["half-split", "interleaved"])
@pytest.mark.parametrize("ratio", RATIOS)
def test_f57_dense_equals_a_naive_decoder_in_both_rope_conventions(ratio: int, interleaved: bool) -> None:
    model = small_model(ratio, interleaved)
    assert distance(plain_logits(model, TEXT), naive(model, TEXT)) < 1e-10
    other = small_model(ratio, not interleaved)  # the same weights
    assert distance(plain_logits(other, TEXT), naive(model, TEXT)) > 1e-3, "the conventions must differ"


@pytest.mark.parametrize("interleaved", [False, True])
@given(a=st.integers(-500, 500), b=st.integers(-500, 500), seed=st.integers(0, 99))
def test_f50_rotations_add_up_and_scores_depend_on_differences_only(
    interleaved: bool, a: int, b: int, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    q, k = torch.randn(2, 8, dtype=torch.float64, generator=g)

    def turn(x: torch.Tensor, by: int) -> torch.Tensor:
        return rotate(x, *cos_sin(torch.tensor(by), 8, 10_000.0, torch.float64), interleaved)

    assert distance(turn(turn(k, a), b), turn(k, a + b)) < 1e-9
    assert distance(turn(turn(k, a), -a), k) < 1e-9
    assert torch.equal(turn(k, 0), k)
    assert abs(turn(q, a) @ turn(k, b) - turn(q, a - b) @ k) < 1e-9


def test_without_shift_or_with_a_shift_of_nothing_dense_is_the_same() -> None:
    n = len(TEXT)
    given_ = (torch.tensor([TEXT]), torch.arange(n)[None], torch.ones(1, n, n, dtype=torch.bool).tril())
    zero = torch.zeros(1, n, n, dtype=torch.int64)
    assert distance(small_model().dense(*given_), small_model().dense(*given_, zero)) < 1e-10
    assert distance(small_model().dense(*given_), small_model().dense(*given_, zero + 3)) > 1e-3


def test_dense_gives_the_rows_that_are_asked_for() -> None:
    n = len(TEXT)
    seen = torch.ones(1, n, n, dtype=torch.bool).tril().expand(2, n, n)
    given_ = (torch.tensor([TEXT, TEXT[::-1]]), torch.arange(n).expand(2, n), seen)
    wanted = torch.tensor([2 * n - 1, 0, n + 1])
    all_rows = small_model().dense(*given_).flatten(0, 1)
    assert distance(small_model().dense(*given_, wanted=wanted), all_rows[wanted]) < 1e-10


# Checkpoints


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(small_model(dtype=torch.float32), tmp_path)
    return tmp_path


@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path, tied: bool) -> None:
    config = dataclasses.replace(small_model().config, tie_word_embeddings=tied)
    model = Decoder(config).requires_grad_(False)
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    assert loaded.config == config
    assert torch.equal(plain_logits(loaded, TEXT), plain_logits(model, TEXT))
    assert (loaded.lm_head.weight is loaded.model.embed_tokens.weight) == tied
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) != tied
    assert not any(p.requires_grad for p in loaded.parameters())


def test_weights_may_be_stored_in_half_precision_and_read_in_any(tmp_path: Path) -> None:
    model = small_model(dtype=torch.float32)
    checkpoint.save(model, tmp_path, torch.float16)
    loaded = checkpoint.load(tmp_path, torch.float64)
    assert loaded.dtype == torch.float64
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].half().double())


def change(folder: Path, name: str, tensor: torch.Tensor | None) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    save_file(tensors, file)


Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.mark.parametrize(
    "name, tensor, why",
    [
        (Q, None, "is missing"),
        (Q, torch.zeros(3, 3), r"is \[3, 3\], wants \[32, 16\]"),
        (Q, torch.full((32, 16), math.nan), "not finite"),
        (Q, torch.full((32, 16), math.inf), "not finite"),
        (Q, torch.zeros(32, 16, dtype=torch.int64), "is I64, only F32"),
        ("model.layers.7.mlp.bias", torch.zeros(1), "does not belong to this model"),
    ],
)
def test_a_corrupt_checkpoint_is_refused_by_the_name_of_the_tensor(
    folder: Path, name: str, tensor: torch.Tensor | None, why: str
) -> None:
    change(folder, name, tensor)
    with pytest.raises(ValueError, match=why) as caught:
        checkpoint.load(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "file, content, why",
    [
        ("config.json", None, "config.json is missing"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("config.json", b"{", "not a model configuration"),
        ("config.json", b"\xff\xfe", "not a model configuration"),
        ("config.json", b"{}", "lacks"),
        ("config.json", b"[]", "not a model configuration|config"),
        ("config.json", b'{"vocab_size": "many"}', "."),
        ("model.safetensors", b"nonsense", "not a safetensors file"),
        ("model.safetensors", b"", "not a safetensors file"),
    ],
)
def test_a_foreign_file_is_refused_by_its_name(folder: Path, file: str, content: bytes | None, why: str) -> None:
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=why):
        checkpoint.load(folder)


# Configuration

PLAIN = {"vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_a_configuration_reads_hugging_face_names_and_comes_back() -> None:
    config = ModelConfig.from_dict({**PLAIN, "model_type": "llama", "some_other_field": 1})
    assert (config.head_dim, config.num_key_value_heads) == (4, 2)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    newer = ModelConfig.from_dict({**PLAIN, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})
    assert newer.rope_theta == 5e5


@pytest.mark.parametrize(
    "more, why",
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 4.0}}, "longrope"),
        ({"rope_scaling": {"type": "linear"}}, "lacks factor"),
        ({"rope_scaling": {"type": "linear", "factor": 0.0}}, "factor must be a number above 0"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"num_key_value_heads": 3}, "multiple"),
        ({"num_key_value_heads": 0}, "num_key_value_heads must be a whole number"),
        ({"head_dim": 5}, "even"),
        ({"vocab_size": 0}, "vocab_size"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"vocab_size": None}, "lacks vocab_size"),
    ],
    ids=str,
)
def test_f55_f56_what_this_decoder_would_silently_get_wrong_is_refused(more: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ModelConfig.from_dict({**PLAIN, **more})


# Tokenizer

CONTROL = ["<plan>", "</plan>", "<join>"]


def make_tokenizer() -> Tokenizer:
    letters = dict.fromkeys("<>/planjoi 123")
    inner = Inner(models.WordLevel({**{c: i for i, c in enumerate(letters)}, "?": 50}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    inner.add_special_tokens(CONTROL)
    return Tokenizer(inner)


@given(text=st.lists(st.sampled_from([*CONTROL, *"<>/plan 123"]), max_size=12).map("".join))
def test_f49_m7_no_text_ever_becomes_a_control_token(text: str) -> None:
    tokenizer = make_tokenizer()
    control = {tokenizer.id(name) for name in CONTROL}
    ids = tokenizer.encode(text)
    assert not control & set(ids)
    assert len(ids) == len(text)


def test_control_tokens_enter_and_leave_by_name() -> None:
    tokenizer = make_tokenizer()
    for name in CONTROL:
        assert tokenizer.decode([tokenizer.id(name)]) == name
    with pytest.raises(ValueError, match="<fork>"):
        tokenizer.id("<fork>")


def test_text_that_cannot_be_written_is_refused_by_its_letter() -> None:
    with pytest.raises(ValueError, match="Z"):
        make_tokenizer().encode("12Z3")


def test_a_missing_or_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer"):
        Tokenizer.load(tmp_path)

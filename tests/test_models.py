"""Every family against transformers, on small random models: the same logits, by every way there is to compute them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import backend_or_skip
from safetensors.torch import load_file, save_file

from miniapr.engine.engine import Engine
from miniapr.model import checkpoint
from miniapr.model.decoder import Decoder
from miniapr.ops import PlanBuilder

transformers = pytest.importorskip("transformers", reason="transformers is not installed: nothing to compare with")

SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
GPT2 = {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SMALL),
    "llama, tied, wide heads": ("Llama", {**SMALL, "tie_word_embeddings": True, "head_dim": 16}),
    "llama, attention bias": ("Llama", {**SMALL, "attention_bias": True}),
    "llama, linear": ("Llama", {**SMALL, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}),
    "llama, llama3": ("Llama", {**SMALL, "rope_theta": 500.0, "rope_scaling": LLAMA3}),
    "llama, yarn": ("Llama", {**SMALL, "rope_scaling": YARN}),
    "qwen2": ("Qwen2", SMALL),
    "qwen2, tied, yarn": ("Qwen2", {**SMALL, "tie_word_embeddings": True, "rope_scaling": YARN}),
    "qwen3": ("Qwen3", {**SMALL, "head_dim": 16}),
    "qwen3, attention bias": ("Qwen3", {**SMALL, "head_dim": 16, "attention_bias": True}),
    "gpt2": ("GPT2", GPT2),
}
TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 58, 97 - 1, 0, 7, 93, 2, 38])  # [T]


@pytest.fixture(scope="module", params=FAMILIES, ids=str)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """Somebody else's model, and the folder that it wrote."""
    kind, settings = FAMILIES[request.param]
    config = getattr(transformers, f"{kind}Config")(**settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
        for name, parameter in theirs.named_parameters():  # random biases and scales too: zeros would hide them
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, mean=0.0 if name.endswith("bias") else 1.0, std=0.3)
            else:
                torch.nn.init.normal_(parameter, std=0.25)
    folder = tmp_path_factory.mktemp("model")
    theirs.save_pretrained(folder, max_shard_size="20KB" if "tied" in request.param else "5GB")
    return theirs, folder


def logits_of(theirs: Any, positions: torch.Tensor) -> torch.Tensor:
    n = len(TOKENS)
    mask = torch.full((n, n), -math.inf).triu(1)[None, None]  # given, so that positions are not taken for several texts
    with torch.no_grad():
        found: torch.Tensor = theirs(TOKENS[None], position_ids=positions[None], attention_mask=mask).logits[0]
    return found


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def paged(model: Decoder, backend: Any, positions: torch.Tensor, chunks: list[int]) -> torch.Tensor:
    """Logits [T, V], computed ``chunks`` tokens at a time against a pool whose blocks are in disorder."""
    c, size, blocks = model.config, 4, [5, 0, 3, 7, 2, 6]
    k = torch.full((c.num_hidden_layers, 8, c.num_key_value_heads, c.head_dim, size), math.nan)
    v = torch.full((c.num_hidden_layers, 8, c.num_key_value_heads, size, c.head_dim), math.nan)
    found, start = [], 0
    for rows in chunks:
        plan, stop = PlanBuilder(), start + rows
        plan.see("text", blocks[: -(-stop // size)], 0, start + 1, 0, rows, ramp=1)
        plan.end_rows(rows)
        slots = torch.tensor([blocks[i // size] * size + i % size for i in range(start, stop)])
        part = TOKENS[start:stop], positions[start:stop], slots, plan.build()
        found.append(model.paged(*part, k, v, backend, torch.arange(rows)))
        start = stop
    return torch.cat(found)


ARBITRARY = torch.tensor([0, 1, 2, 3, 9, 10, 11, 3, 4, 5, 40, 41, 41, 41, 90, 12, 13])
WAYS = {"prefill": [17], "chunked": [5, 1, 7, 4], "decode": [1] * 17}


@pytest.mark.parametrize("positions", [torch.arange(17), ARBITRARY], ids=["in order", "arbitrary"])
def test_logits_equal_those_of_transformers(family: tuple[Any, Path], positions: torch.Tensor) -> None:
    theirs, folder = family
    wanted = logits_of(theirs, positions)
    plain, packed = checkpoint.load(folder, pack=False), checkpoint.load(folder, pack=True)
    n = len(TOKENS)
    dense = plain.dense(TOKENS[None], positions[None], torch.ones(1, n, n, dtype=torch.bool).tril())[0]
    assert_same(dense, wanted)
    for chunks in WAYS.values():
        assert_same(paged(plain, backend_or_skip("reference"), positions, chunks), wanted)
        assert_same(paged(packed, backend_or_skip("cpp"), positions, chunks), wanted)


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 0.05), (torch.float16, 0.01)], ids=str)
def test_small_types_are_near(family: tuple[Any, Path], dtype: torch.dtype, tolerance: float) -> None:
    theirs, folder = family
    wanted = logits_of(theirs, torch.arange(17))
    engine = Engine(checkpoint.load(folder, dtype), _Ids(), num_blocks=16)
    branch = engine.settle(engine.start(TOKENS.tolist()))
    assert branch.logits is not None and branch.logits.dtype == dtype
    assert (branch.logits.float() - wanted[-1]).abs().max() < tolerance * wanted.abs().max()


class _Ids:
    """A tokenizer that is never asked for text."""

    def decode(self, ids: Any) -> str:
        return ""


def test_a_fork_and_every_join_run_in_every_family(family: tuple[Any, Path]) -> None:
    """What a stitch sees is judged elsewhere; here: in every family re-prefill is plain text again, and learned
    positions refuse to be moved."""
    theirs, folder = family
    engine = Engine(checkpoint.load(folder), _Ids(), num_blocks=64, block_size=4)
    root = engine.settle(engine.start([5, 6, 7]))
    left, right = engine.fork(root, [[8, 9], [10]])
    engine.decode([left, right], max_tokens=3)
    joined = engine.settle(engine.join(root, [left, right], "reprefill", then=[11], keep=True))
    with torch.no_grad():
        wanted = theirs(torch.tensor([joined.history])).logits[0, -1]
    assert joined.logits is not None
    assert_same(joined.logits, wanted)
    engine.settle(engine.join(root, [left, right], "stitch", then=[11], keep=True))
    for how in ("stitch_contiguous", "stitch_copied"):
        if theirs.config.model_type == "gpt2":
            with pytest.raises(ValueError, match="learned positions"):
                engine.join(root, [left, right], how, then=[11], keep=True)
        else:
            engine.settle(engine.join(root, [left, right], how, then=[11], keep=True))
    engine.check()


# Faults


def write(folder: Path, **changes: Any) -> Path:
    """A sound Llama folder with changes: of its configuration by name, of tensors by ``tensors``."""
    tensors = changes.pop("tensors", {})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL)).save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    found = {**load_file(folder / "model.safetensors"), **tensors}
    save_file({name: tensor for name, tensor in found.items() if tensor is not None}, folder / "model.safetensors")
    return folder


NAME = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"tensors": {NAME: None}}, f"{NAME}.*is missing"),
        ({"tensors": {NAME: torch.zeros(3, 3)}}, rf"{NAME}.*\[3, 3\], wants \[48, 32\]"),
        ({"tensors": {NAME: torch.full((48, 32), math.nan)}}, f"{NAME}.*not finite"),
        ({"tensors": {"model.surplus": torch.zeros(1)}}, "model.surplus.*does not belong"),
        ({"model_type": "mamba"}, "mamba.*is not supported: only llama, qwen2, qwen3, gpt2"),
        ({"rope_parameters": {"rope_type": "longrope", "factor": 2.0}}, "longrope"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"hidden_act": "relu"}, "relu"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        checkpoint.load(write(tmp_path, **changes))


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_named(tmp_path: Path, keep: float) -> None:
    file = write(tmp_path) / "model.safetensors"
    file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        checkpoint.load(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL))
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    shards[1].unlink()
    with pytest.raises(ValueError, match=shards[1].name):
        checkpoint.load(tmp_path)

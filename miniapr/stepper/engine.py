"""What a page needs to think by itself: the engine in JavaScript, and a model for it, in one file.

The engine (``static/engine``) is the Python one again, small enough to read beside it: greedy, one tree, no prefix
cache, nobody who must give way. It writes the same events, so the same drawing serves both, and the tests hold
the one to the other.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from ..model.bundle import Bundle, find, load, shipped
from ..model.config import ModelConfig
from ..model.files import read_json
from ..model.tokenizer import Tokenizer
from .levels import LEVELS
from .page import inline, script

WORKER = tuple(
    f"engine/{name}.js"
    for name in (
        "tensors", "decoder", "span", "weave", "branch", "cache", "joins", "spans", "branching", "jobs", "engine",
        "tokenizer", "grammar", "countdown", "beginnings", "commands", "session", "levels", "play", "worker",
    )
)  # fmt: skip
BLOCKS, BLOCK_SIZE = 512, 4


def config_of(config: ModelConfig) -> dict[str, Any]:
    """What the engine needs to know of a model's form. Raises ValueError for one that it does not compute."""
    form = (config.model_type, config.rope_interleaved, config.rope_scaling)  # of voices, it uses none
    if form != ("llama", False, None):
        raise ValueError(f"the engine in a page computes plain Llamas only, not {form}")
    names = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "tie_word_embeddings",
        "max_position_embeddings",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names}


def about(bundle: Bundle) -> dict[str, Any]:
    """All of a model but its weights, as plain data. Raises ValueError for one that the engine does not compute."""
    tokenizer = bundle.tokenizer
    return {
        "name": bundle.name,
        "config": config_of(bundle.model.config),
        "words": [tokenizer.decode([id]) for id in range(len(tokenizer))],
        "special": sorted(tokenizer.decode([id]) for id in tokenizer.control),
        "control": bundle.control,
        "levels": [level.as_dict() for level in LEVELS],
        "blocks": BLOCKS,
        "block_size": BLOCK_SIZE,
    }


def speaker(runs: Iterable[Mapping[str, Any]]) -> str | None:
    """The model that ships and that has written these runs, as far as their tokens' texts tell; None: none of them.
    Models may have one vocabulary: it is none that was not taught a role in which it was asked."""
    texts = {(int(id), text) for run in runs for id, text in run["about"]["texts"].items()}
    known = {name: _roles(name) for name in shipped()}
    all_roles = frozenset().union(*known.values())
    for name, roles in known.items():
        if texts <= set(enumerate(words(name))) and not (all_roles - roles) & {text for _, text in texts}:
            return name
    return None


@functools.cache
def _roles(name: str) -> frozenset[str]:
    """The tokens by which a model that ships is asked for what it was taught."""
    said = read_json(find(name) / "miniapr.json")
    return frozenset(said["control"][role] for role in said.get("roles", ()))


def for_runs(runs: Iterable[Mapping[str, Any]]) -> str:
    """What ``packed`` gives of the model that has written these runs; nothing if it is none that ships, or one
    that does not play the puzzle of the pages."""
    name = speaker(runs)
    return packed(name) if name and read_json(find(name) / "miniapr.json").get("task") == "countdown" else ""


@functools.cache
def words(name: str) -> tuple[str, ...]:
    """The text of every token of a model that ships."""
    tokenizer = Tokenizer.load(find(name))
    return tuple(tokenizer.decode([id]) for id in range(len(tokenizer)))


@functools.cache
def packed(name: str = "countdown") -> str:
    """Engine and model as JSON that can stand in a script element: the worker's script, what is said of the model, its
    weights in base64 (2.5 MB). Raises ValueError for a model that is not known, or that the engine does not compute."""
    weights = (find(name) / "model.safetensors").read_bytes()
    told = {"worker": script(*WORKER), "model": about(load(name)), "weights": base64.b64encode(weights).decode()}
    return inline(told)


def as_script(name: str = "countdown") -> str:
    """The same as a script that a page loads by its address: a page that is a file may load nothing else."""
    return f"globalThis.miniaprEngine = {packed(name)};\n"

"""Tokens a second of a long prompt, and the memory that a branch takes."""

from __future__ import annotations

from typing import Any

import torch

import miniapr
from miniapr.model.decoder import Decoder
from miniapr.ops import Operations

from . import contestants, models
from .contestants import some_tokens
from .rivals import TorchLoop, Transformers
from .timing import Turn, interleave


def measure(size: str, dtype: str, ops: Operations, lengths: list[int], rounds: int) -> dict[str, Any]:
    """A prompt from its first token to the logits after its last, in one piece, by engine and peers."""
    config = models.SIZES[size]
    model = models.build(size, models.DTYPES[dtype])
    loop = TorchLoop(models.weights(model), config)
    try:
        hugging: Transformers | None = Transformers(models.weights(model), config)
    except ImportError:
        hugging = None
    models.lay_out(model, ops)
    rows = []
    for length in lengths:
        tokens = some_tokens(length)
        engine = contestants.engine(model, ops, length // 16 + 8, max_batch_tokens=length, reuse_prefixes=False)
        cache, batch = loop.caches(length, 1, room=1), torch.tensor([tokens])  # [1, T]

        def ours(engine: miniapr.Engine = engine, tokens: list[int] = tokens) -> None:
            engine.release(engine.settle(engine.start(tokens)))

        def torchs(batch: torch.Tensor = batch, cache: Any = cache) -> None:
            loop.forward(batch, 0, *cache)

        turns: dict[str, Turn] = {"engine": ours, "torch": torchs}
        if hugging:
            turns["transformers"] = lambda h=hugging, b=batch: (h.prefill(b), None)[1]
        times = interleave(turns, rounds, warmup=1)
        speed = {who: {"tokens_per_second": length / taken.median} | taken.json() for who, taken in times.items()}
        rows.append({"tokens": length, **speed})
    return {"size": size, "dtype": dtype, "rows": rows}


def memory(size: str, dtype: str, ops: Operations, prefix: int, own: int, widths: list[int]) -> dict[str, Any]:
    """Bytes of keys and values when every branch has decoded ``own`` tokens, counted in the engine's pool."""
    model = models.build(size, models.DTYPES[dtype])
    rows = [_memory(model, ops, prefix, own, width) for width in widths]
    return {"size": size, "dtype": dtype, "prefix": prefix, "own": own, "rows": rows}


def _memory(model: Decoder, ops: Operations, prefix: int, own: int, width: int) -> dict[str, Any]:
    tree = contestants.Tree(model, ops, prefix, width)
    with contestants.through(tree.engine, contestants.Nothing(tree.engine.runner)):
        while min(len(branch.span.tokens) for branch in tree.branches) < own:
            tree.engine.step()
    pool = tree.engine.pool
    used = (len(pool) - pool.free) * pool.bytes_per_block
    # What engines with one contiguous cache for each sequence need: every branch holds prefix and own tokens.
    copies = width * models.kv_elements(model.config, prefix + own) * model.dtype.itemsize
    return {"branches": width, "used": used, "copies": copies}

"""No wrong argument crashes a compiled operation or is silently taken for something else: every tensor argument of
every operation, spoilt in every way, is a ValueError that begins with an argument's name, and nothing is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from helpers import backend_or_skip
from paged_case import Shape, causal_case
from torch import Tensor

from miniapr.ops import Norm, Operations
from miniapr.ops.packed import pack


@pytest.fixture(scope="module", params=["cpp", "cuda (emulated)"])
def native(request: pytest.FixtureRequest) -> Operations:
    return backend_or_skip(request.param)


def good_arguments(native: Operations) -> dict[str, dict[str, Any]]:
    """One valid call of each operation. Blocks are square (8 dimensions, 8 tokens), so that transposing one changes
    its strides and not its shape."""
    case = causal_case(Shape(torch.float32, 8, 8, 2, 2, shifts=(3,)), 9, 2)
    one, rows = torch.tensor([1, 0]), torch.randn(2, 2, 8)
    layer = {"k_cache": case.k_cache.nan_to_num(), "v_cache": case.v_cache.nan_to_num()}
    stack = {name: cache[None].repeat(2, 1, 1, 1, 1) for name, cache in layer.items()}
    tables = {"shift_cos": torch.ones(2, 4), "shift_sin": torch.zeros(2, 4)}
    x, norm = torch.randn(2, 8), Norm(torch.ones(8), 1e-6)
    keep = pack if native.name == "cpp" else torch.clone
    weights = [keep(torch.randn(16, 8)), keep(torch.randn(16, 8))]
    return {
        "write_kv": {"k": rows, "v": rows.clone(), **layer, "slots": one},
        "paged_attention": {"q": case.q, **layer, "plan": case.plan, **tables, "interleaved": False},
        "copy_blocks": {**stack, "source": one, "target": one + 2},
        "shift_keys": {"k_cache": stack["k_cache"], "blocks": one, "turn": one, **tables, "interleaved": False},
        "copy_and_shift": {**stack, "source": one, "target": one + 2, "turn": one, **tables, "interleaved": True},
        "linear": {"x": x, "weights": weights, "norm": norm, "add": torch.randn(2, 32)},
        "swiglu": {"x": x, "gate": weights[0], "up": weights[1], "norm": norm},
        "sample": {
            "logits": torch.randn(2, 8),
            **dict.fromkeys(("temperature", "top_p", "min_p", "uniform"), torch.full((2,), 0.5, dtype=torch.float64)),
            "top_k": one,
        },
        "rope": {"x": torch.randn(2, 3, 8), "cos": torch.ones(2, 4), "sin": torch.ones(2, 4), "interleaved": False},
    }


OPERATIONS = sorted(set(dir(Operations)) & set(good_arguments(backend_or_skip("reference"))))
TAKEN = {
    ("write_kv", "k", "type"),  # in any type: they are stored as the cache is
    ("write_kv", "v", "type"),
    ("linear", "add", "dimensions"),  # one row for all: a bias
    ("sample", "logits", "size"),  # another vocabulary
}


def spoilt(name: str, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """What can be wrong with a tensor."""
    yield "device", x.to("meta")
    yield "dimensions", x[0]
    yield "one more dimension", x[None]
    yield "size", x[..., :-1]
    yield "type", x.long() if x.is_floating_point() else x.float()
    if name.endswith("_cache"):
        yield "strides", x.mT.contiguous().mT
        yield "storage", x.to(torch.complex64)
    if name in ("source", "target", "blocks", "turn"):
        yield "stride", x.repeat_interleave(2)[::2]
        yield "too large", x + 1000
        yield "negative", x - 1000
        yield "beyond 32 bits", x + 2**40
    if name == "slots":
        yield "too large", x + 1000
        yield "negative", x - 1000
    if name in ("target", "blocks"):
        yield "twice", torch.full_like(x, 2)


def variants(arguments: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, x in arguments.items():
        if isinstance(x, Norm):
            for how, bad in spoilt(name, x.weight):
                yield name, how, {**arguments, name: Norm(bad, x.eps)}
        elif isinstance(x, Tensor):
            for how, bad in spoilt(name, x):
                yield name, how, {**arguments, name: bad}


def written(arguments: dict[str, Any]) -> list[Tensor]:
    return [x.clone() for name, x in arguments.items() if name.endswith("_cache")]


def run(function: Callable[..., object], arguments: dict[str, Any]) -> str | None:
    """The message of the ValueError, if there was one. Any other error is a failure."""
    try:
        function(**arguments)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("operation", OPERATIONS)
def test_F67_F68_every_argument_spoilt_in_every_way(native: Operations, operation: str) -> None:
    function, arguments = getattr(native, operation), good_arguments(native)[operation]
    names, kept, tried = "|".join(arguments), written(arguments), 0
    for name, how, bad in variants(arguments):
        if (operation, name, how) in TAKEN:
            continue
        message = run(function, bad)
        assert message, f"{operation}: {name} with a wrong {how} was taken"
        assert re.match(rf"({names}|weights|head size|plan\.\w+)\b", message), f"{operation}, {name}, {how}: {message}"
        tried += 1
    assert tried >= 10
    assert all(map(torch.equal, written(arguments), kept)), "something was written"
    assert run(function, arguments) is None  # the control: what was spoilt was fine


def test_the_protocol_is_covered() -> None:
    missing = {name for name in dir(Operations) if not name.startswith("_")} - set(OPERATIONS)
    assert missing <= {"name"}, missing

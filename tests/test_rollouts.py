"""Rollouts: what a watched program wrote, and that training computes what sampling reported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import JOINS, Letters, distance, make_engine, share, small_model
from hypothesis import given
from programs import Scenario, World, scenarios

from miniapr.engine import operations as op
from miniapr.engine.joins import message
from miniapr.engine.request import Program
from miniapr.engine.sampling import Sampling
from miniapr.ops import reference
from miniapr.rl.rollouts import Unit, Watched
from miniapr.rl.rows import collate, logprobs, row

WARM = Sampling(temperature=1.0, seed=3)


def forked(how: Any) -> Program:
    """A fork with and without seeds, nested once, a given token, a join, and more."""
    root = yield op.Start("abc", WARM)
    yield op.Decode([root], max_tokens=3)
    left, right = yield op.Fork(root, ["d", "ef"])
    inner = yield op.Fork(left, 2)
    yield op.Decode([*inner, right], max_tokens=4)
    yield op.Join(left, inner, how, "g")
    yield op.Decode([left], max_tokens=2)
    yield op.Extend(right, "h")
    yield op.Decode([right], max_tokens=2)
    yield op.Join(root, [left, right], how, "ij" if not callable(how) else ())
    yield op.Decode([root], max_tokens=2)


def watched(program: Program, **options: Any) -> Unit:
    watch = Watched(program)
    make_engine(record=False, **options).run(watch.program)
    return watch.root


def test_a_watched_program_is_written_down_as_a_tree() -> None:
    root = watched(forked("stitch"))
    letters = Letters()
    shape = [("".join(letters.decode(unit.given)), len(unit.written), len(unit.threads)) for unit in root]
    assert shape == [
        ("abc", 3, 2), ("d", 0, 2), ("", 4, 0), ("", 4, 0), ("g", 2, 0), ("ef", 4, 0), ("h", 2, 0), ("ij", 2, 0),
    ]  # fmt: skip
    assert (root.critical, root.total) == (3 + max(4 + 2, 4 + 2) + 2, 3 + 8 + 2 + 6 + 2)
    assert root.finish == "length" and all(len(unit.written) == len(unit.logprobs) for unit in root)


@pytest.mark.parametrize("how", [*JOINS, message([5, 6])], ids=[*JOINS, "message"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_training_computes_the_logprobs_that_sampling_reported(how: Any, dtype: Any, tolerance: float) -> None:
    model = small_model(dtype=dtype)
    root = watched(forked(how), model=model)
    rows = collate([row(root), row(watched(forked("stitch"), model=model))])
    found, entropy = logprobs(model, rows)
    assert distance(found, rows.logprobs) < tolerance
    assert len(found) == 2 * root.total and (entropy > 0).all()


def test_a_row_that_sees_one_token_more_is_found_out() -> None:
    root = watched(forked("stitch"))
    rows = collate([row(root)])
    rows.visible[0, rows.before[-1], 1] ^= True
    assert distance(logprobs(small_model(), rows)[0], rows.logprobs) > 1e-3


@share(10)
@given(scenarios())
def test_logprobs_agree_for_random_programs(scenario: Scenario) -> None:
    """Of every operation, weaves and voices included, sampled warm and at once."""
    model = small_model(scenario.ratio, scenario.interleaved, voices=scenario.voices)
    engine = make_engine(model, reference, scenario.permute, num_blocks=400, reuse_prefixes=scenario.reuse_prefixes)
    world = World(engine, model, 1e-10)
    programs = [
        Watched(world.program(prompt, Sampling(temperature=1.0, seed=number), acts))
        for number, (prompt, acts) in enumerate(zip(scenario.prompts, scenario.acts, strict=True))
    ]
    for request in [engine.submit(watch.program) for watch in programs]:
        engine.wait(request)
    for watch in programs:
        if watch.root.total:
            rows = collate([row(watch.root)])
            assert distance(logprobs(model, rows)[0], rows.logprobs) < 1e-10


def test_a_program_that_begins_several_trees_is_one_rollout_and_one_row() -> None:
    def several() -> Program:
        roots = []
        for prompt in ("abc", "abd"):
            roots.append((yield op.Start(prompt, WARM)))
        yield op.Decode(roots, max_tokens=3)

    root = watched(several())
    assert (root.critical, root.total, len(root.threads)) == (3, 6, 2)
    rows = collate([row(root)])
    assert distance(logprobs(small_model(), rows)[0], rows.logprobs) < 1e-10

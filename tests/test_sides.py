"""Both sides of the engine line as commands: `compare --engine` and `sides`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Run, parse
from serving import Running, serving

import miniapr
from miniapr.engine.sampling import Sampling
from miniapr.methods.adaptive import adaptive
from miniapr.methods.grammar import Control
from miniapr.players import game_of
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.talk import TextTalk
from miniapr.show.phases import PHASES, measure
from miniapr.show.sides import SIDES
from miniapr.show.thoughts import adaptive_thought
from miniapr.tasks.countdown import Problem


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(miniapr.load()) as running:
        yield running


def test_compare_through_a_server(run: Run, server: Running) -> None:
    code, out, _ = run("compare", "--engine", server.url, "--json")
    told = parse(out)
    assert code == 0 and told["spoken"] == "token ids"
    code, out, _ = run("compare", "--json")
    here = parse(out)
    assert told["conclusion"].replace(" <eos>", "") in here["joins"]["reprefill"]["text"]
    assert len(told["threads"]) == here["fork"]["width"] == told["requests"] - 2
    assert told["critical_path"] == here["critical_path"]
    code, out, _ = run("compare", "--engine", server.url)
    assert code == 0 and "( 7 * 3 ) + 8" in out and "10 requests" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--join", "stitch"], 1, "keys and values"),
        (["--model", "gpt"], 2, "has no model 'gpt'; it has countdown"),
        (["--tokenizer", "nowhere"], 2, "can be asked in text only"),
        (["--concurrency", "0"], 2, "concurrency must be at least 1"),
    ],
)
def test_what_cannot_be_done_through_a_server(
    run: Run, server: Running, words: list[str], code: int, said: str
) -> None:
    failed, out, error = run("compare", "--engine", server.url, *words)
    assert (failed, out) == (code, "") and said in error and error.count("\n") == 1


def test_nobody_at_that_address(run: Run) -> None:
    code, _, error = run("compare", "--engine", "http://127.0.0.1:9/v1")
    assert code == 1 and "127.0.0.1:9" in error
    code, _, error = run("compare", "--engine", "nonsense")
    assert code == 2 and "must be an address" in error


def test_sides(run: Run, tmp_path: Path) -> None:
    small = ["--problems", 2, "--lengths", 8, 16, "--counts", 2, "--rounds", 1, "--prefix", 32]
    code, out, error = run("sides", *small, "--json", tmp_path / "s.json", "--plot", tmp_path / "s.png")
    assert code == 0, error
    assert "same conclusion" in out and (tmp_path / "s.png").stat().st_size > 5000
    told = parse((tmp_path / "s.json").read_text())
    assert list(told["sides"]) == list(SIDES) == list(told["grid"][0]["sides"])
    _check_grid(told)
    stitch, here, cached, fresh = (told["sides"][side] for side in SIDES)
    assert here["agreement"] == cached["agreement"] == fresh["agreement"] == 1
    for one, two in zip(here["thoughts"], fresh["thoughts"], strict=True):
        assert one["text"] == two["text"] and one["decoded"] == two["decoded"]
        assert two["reused"] == 0 and (not two["forks"] or two["prefilled"] > one["prefilled"])
    assert sum(one["prefilled"] for one in stitch["thoughts"]) < sum(one["prefilled"] for one in here["thoughts"])
    assert sum(one["reused"] for one in cached["thoughts"]) > 0


def _check_grid(told: dict[str, Any]) -> None:
    assert [(cell["branches"], cell["length"]) for cell in told["grid"]] == [(2, 8), (2, 16)]
    for cell in told["grid"]:
        for side, found in cell["sides"].items():
            (one,) = found["runs"]
            assert one["decoded"] == 2 * (cell["length"] - 1) + 32 and one["forks"] == 1
            assert set(one["seconds"]) == set(PHASES) and all(value > 0 for value in one["seconds"].values())
            assert one["requests"] == (1 if side.startswith("engine") else 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plot", "x.txt"], "a plot's name ends in"),
        (["--rounds", 0], "rounds must be at least 1"),
        (["--lengths", 1], "lengths are at least 2"),
        (["--prefix", 1], "prefix must be at least"),
    ],
)
def test_impossible_sides(run: Run, words: list[object], said: str) -> None:
    code, _, error = run("sides", *words)
    assert code == 2 and said in error


def test_every_second_is_in_one_phase(server: Running) -> None:
    bundle = miniapr.load()
    game = game_of(bundle)
    thought = adaptive_thought(game, game.put(Problem((3, 7, 8), 29)), Sampling(), 400)
    remote = connect(Server(server.url, "countdown"), bundle.tokenizer)
    for engine in (miniapr.Engine(bundle.model, bundle.tokenizer), remote):
        found = measure(engine, thought.program("reprefill"))
        assert all(found.seconds[phase] > 0 for phase in PHASES)
        assert thought.answer(found.text) == "( 7 * 3 ) + 8" and found.conclusion in found.text
    remote.close()


def test_an_error_in_a_measured_program_comes_out(server: Running) -> None:
    bundle = miniapr.load()
    control = Control.of(bundle.tokenizer, bundle.control)
    engine = miniapr.Engine(bundle.model, bundle.tokenizer)
    with pytest.raises(ValueError, match="the prompt is empty"):
        measure(engine, adaptive([], control))


def test_a_conversation_in_text() -> None:
    talk = TextTalk("chatml")
    ids = [*talk.chat([{"role": "user", "content": "Why?"}]), *talk.encode("Because."), *talk.turn("So?")]
    assert talk.decode(ids) == (
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause."
        "<|im_end|>\n<|im_start|>user\nSo?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert [talk.decode([id]) for id in talk.ends] == ["<|im_end|>"]
    with pytest.raises(ValueError, match="chatml, llama3"):
        TextTalk("nonsense")


def test_json_is_one_object(run: Run, server: Running) -> None:
    _, out, _ = run("compare", "--engine", server.url, "--json")
    assert len(json.loads(out)) > 5 and out.count("\n") == 1

"""Methods that need only text give the same through a server as in the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import Running, serving

import miniapr
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.model.bundle import Bundle
from miniapr.players import game_of
from miniapr.remote.answers import Chunk
from miniapr.remote.client import Call, Server
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.countdown import Problem

PROBLEM = Problem((3, 7, 8), 29)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def server(bundle: Bundle) -> Iterator[Running]:
    with serving(bundle) as running:
        yield running
        assert running.idle()


@pytest.fixture
def remote(server: Running, bundle: Bundle) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(Server(server.url, "countdown"), bundle.tokenizer, 4096)
    yield engine
    engine.close()


@pytest.mark.parametrize("name", ["sequential", "self-consistency", "threadweaver"])
def test_the_same_through_a_server(bundle: Bundle, remote: RemoteEngine, name: str) -> None:
    budget, player = Budget(800), game_of(bundle, temperature=0.0).player
    options = {"width": 3} if name == "self-consistency" else {}
    here = play(
        miniapr.Engine(bundle.model, bundle.tokenizer), METHODS[name](PROBLEM, player, budget, **options), budget
    )
    there = play(remote, METHODS[name](PROBLEM, player, budget, **options), budget)
    assert here is not None and there is not None
    assert there.answer == here.answer and there.candidates == here.candidates
    for count in ("decoded", "critical", "resent", "largest_context"):
        assert getattr(there.costs, count) == getattr(here.costs, count), count


def test_a_budget_holds_through_a_server(bundle: Bundle, remote: RemoteEngine) -> None:
    budget, player = Budget(50), game_of(bundle, temperature=0.0).player
    outcome = play(remote, METHODS["self-consistency"](PROBLEM, player, budget, width=4), budget)
    assert outcome is not None and outcome.spent and outcome.costs.decoded <= 50


class Hasty(Server):
    """A server that sends twenty tokens at a time."""

    def complete(self, call: Call) -> Iterator[Chunk]:
        for _ in range(5):
            yield Chunk(ids=[7] * 20)


@pytest.mark.parametrize("tokens", [0, 1, 39, 40, 41])
def test_a_budget_holds_where_tokens_come_in_lumps(bundle: Bundle, tokens: int) -> None:
    engine = RemoteEngine(Hasty("http://127.0.0.1:1/v1", "hasty"), bundle.tokenizer, 4096)
    budget, player = Budget(tokens), game_of(bundle).player
    outcome = play(engine, METHODS["self-consistency"](PROBLEM, player, budget, width=4), budget)
    engine.close()
    assert outcome is not None and outcome.spent and outcome.costs.decoded == tokens


def test_what_needs_keys_and_values_is_refused(bundle: Bundle, remote: RemoteEngine) -> None:
    budget, player = Budget(800), game_of(bundle).player
    with pytest.raises(NeedsEngine, match="join by reprefill"):
        play(remote, METHODS["multiverse"](PROBLEM, player, budget), budget)
    with pytest.raises(ValueError, match="does not tell"):
        play(remote, METHODS["best-of-n"](PROBLEM, player, budget, width=2, judge="confidence"), budget)

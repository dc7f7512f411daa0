"""Methods that need only text give the same through a server as in the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from command_line import Run, parse
from serving import Running, serving
from taught import Taught
from test_apart import demonstrate as demonstrate_apart
from test_methods_calls import demonstrate as demonstrate_calls

import miniapr
from miniapr.methods.budget import Budget
from miniapr.methods.method import SERVER
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.model.bundle import Bundle
from miniapr.players import game_of
from miniapr.remote.answers import Chunk, Usage
from miniapr.remote.client import Call, Server
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.states import State

PROBLEM = State((8, 7, 3), 29)


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


SAMPLED = ["sequential", "self-consistency", "best-of-n", "budget-aware"]
SEARCHES = ["tree-of-thoughts", "tree-of-thoughts-dfs", "mcts"]
TEXT_ONLY = [*SAMPLED, *SEARCHES, "threadweaver", "parallel-r1", "apr", "recursive", "skeleton-of-thought"]


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_the_same_through_a_server(bundle: Bundle, remote: RemoteEngine, name: str) -> None:
    budget, player = Budget(300), game_of(bundle, temperature=0.0).player
    options = {"width": 3} if METHODS[name].options.get("width", 0) > 3 else {}
    here = play(
        miniapr.Engine(bundle.model, bundle.tokenizer), METHODS[name](PROBLEM, player, budget, **options), budget
    )
    there = play(remote, METHODS[name](PROBLEM, player, budget, **options), budget)
    assert here is not None and there is not None and not here.spent
    texts = [sorted(candidate.text for candidate in outcome.candidates) for outcome in (here, there)]
    assert there.answer == here.answer and texts[0] == texts[1]
    for count in ("decoded", "critical", "resent", "largest_context"):
        assert getattr(there.costs, count) == getattr(here.costs, count), count


def test_these_are_all_that_the_shipped_model_plays_in_text(bundle: Bundle) -> None:
    have = {*game_of(bundle).player.roles, "control", "exact"}
    playable = {name for name, method in METHODS.items() if method.where == SERVER and have >= set(method.needs)}
    assert playable == {*TEXT_ONLY, "early-cancel"}  # which is chance: how far the others are when one is right


def test_a_budget_holds_through_a_server(bundle: Bundle, remote: RemoteEngine) -> None:
    budget, player = Budget(20), game_of(bundle, temperature=0.0).player
    outcome = play(remote, METHODS["self-consistency"](PROBLEM, player, budget, width=4), budget)
    assert outcome is not None and outcome.spent and outcome.costs.decoded <= 20


class Hasty(Server):
    """A server that sends twenty tokens at a time."""

    def complete(self, call: Call) -> Iterator[Chunk]:
        for _ in range(5):
            yield Chunk(ids=[7] * 20)


class Tardy(Server):
    """A server that says what a completion cost long after its last token."""

    def complete(self, call: Call) -> Iterator[Chunk]:
        yield Chunk(ids=[7] * call.body["max_tokens"], finish="length")
        time.sleep(0.3)
        yield Chunk(usage=Usage(len(call.body["prompt"]), 2))


def test_an_outcome_has_the_costs_that_a_server_says_last(bundle: Bundle) -> None:
    engine = RemoteEngine(Tardy("http://127.0.0.1:1/v1", "tardy"), bundle.tokenizer, 4096)
    outcome = play(engine, METHODS["sequential"](PROBLEM, game_of(bundle).player, Budget(8)), Budget(8))
    engine.close()
    assert outcome is not None and outcome.costs.resent > 2
    assert (outcome.costs.prefilled, outcome.costs.reused) == (outcome.costs.resent - 2, 2)


@pytest.mark.parametrize("tokens", [0, 1, 39, 40, 41])
def test_a_budget_holds_where_tokens_come_in_lumps(bundle: Bundle, tokens: int) -> None:
    engine = RemoteEngine(Hasty("http://127.0.0.1:1/v1", "hasty"), bundle.tokenizer, 4096)
    budget, player = Budget(tokens), game_of(bundle).player
    outcome = play(engine, METHODS["self-consistency"](PROBLEM, player, budget, width=4), budget)
    engine.close()
    assert outcome is not None and outcome.spent and outcome.costs.decoded == tokens


class Scribe(Server):
    """A server whose model writes what the teacher would; it is told nothing but the text of each branch."""

    def __init__(self, taught: Taught) -> None:
        super().__init__("http://127.0.0.1:1/v1", "taught")
        self.taught = taught

    def complete(self, call: Call) -> Iterator[Chunk]:
        tokenizer, ids = self.taught.tokenizer, list(call.body["prompt"])
        for _ in range(call.body["max_tokens"]):
            ids.append(tokenizer.id(self.taught._next(tokenizer.decode(ids).split())))
            yield Chunk(ids=ids[-1:])
            if ids[-1] in call.body["stop_token_ids"]:
                return


@pytest.mark.parametrize(
    ("name", "options", "demonstrate"),
    [
        ("apr", {}, demonstrate_calls),
        ("apr", {"levels": 2}, demonstrate_calls),
        ("recursive", {}, demonstrate_calls),
        ("apar", {}, demonstrate_apart),
    ],
)
def test_what_is_told_in_text_runs_on_any_server(name: str, options: dict[str, int], demonstrate: Any) -> None:
    """Contexts of their own and messages are ordinary text: the same tree, words and counts as in the engine."""
    taught = Taught(demonstrate)
    problem, player, budget = State((8, 7, 3), 29), game_of(taught.bundle).player, Budget(2000)
    here = taught.play(METHODS[name], player, budget, problem, **options)
    engine = RemoteEngine(Scribe(taught), taught.tokenizer, 4096)
    there = play(engine, METHODS[name](problem, player, budget, **options), budget)
    engine.close()
    assert there is not None and there.answer == here.answer and player.check and player.check(problem, there.answer)
    # In order of birth, which follows what comes first: on a server that is chance.
    assert sorted(thought.text for thought in there.tree) == sorted(thought.text for thought in here.tree)
    for count in ("decoded", "critical", "resent", "largest_context"):
        assert getattr(there.costs, count) == getattr(here.costs, count), count


def test_an_organizer_thinks_on_while_a_server_answers() -> None:
    """How far a worker was that nobody asked for is chance; what the organizer wrote and heard is not."""
    taught = Taught(demonstrate_apart)
    problem, player, budget = State((8, 7, 3), 29), game_of(taught.bundle).player, Budget(2000)
    here = taught.play(METHODS["asyncthink"], player, budget, problem)
    engine = RemoteEngine(Scribe(taught), taught.tokenizer, 4096)
    there = play(engine, METHODS["asyncthink"](problem, player, budget), budget)
    engine.close()
    assert there is not None and there.answer == here.answer == "( 7 * 3 ) + 8"
    assert [candidate.text for candidate in there.candidates] == [candidate.text for candidate in here.candidates]


def test_a_server_of_text_is_not_asked_for_control_tokens(
    server: Running, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miniapr.remote.connect.speaks_ids", lambda server: False)
    code, out, err = run("think", "apr", "--model", "countdown", "--engine", server.url)
    assert (code, out) == (2, "") and "apr follows control tokens" in err and err.count("\n") == 1


def decoded(server: Running) -> float:
    return server.service.metrics.counts["decoded_tokens_total", ""]


KEYS, LOGPROBS = "needs keys and values", "needs the log-probabilities"
REFUSED = {
    "multiverse": KEYS,
    "npr": KEYS,
    "skeleton-joined": KEYS,
    "parathinker": KEYS,
    "group-think": KEYS,
    "hogwild": KEYS,
    "group-think:positions=private": KEYS,
    "hogwild:layout=interleaved": KEYS,
    **{
        f"{name}:join={join}": KEYS
        for name in ("multiverse", "npr", "threadweaver", "parallel-r1", "skeleton-joined")
        for join in ("stitch", "stitch_contiguous", "stitch_copied")
    },
    "deepconf": LOGPROBS,
    "deepconf-online": LOGPROBS,
    "best-of-n:judge=confidence": LOGPROBS,
}
JOINED_AS_TEXT = [f"{name}:join=reprefill" for name in ("multiverse", "npr", "skeleton-joined")]


@pytest.mark.parametrize("words", REFUSED)
def test_what_a_server_has_not_is_refused_before_it_is_asked(server: Running, run: Run, words: str) -> None:
    before = decoded(server)
    code, out, err = run("think", words, "--model", "countdown", "--engine", server.url)
    assert (code, out) == (2, "") and REFUSED[words] in err and err.count("\n") == 1
    assert (";" in err) == ("join" in METHODS[words.partition(":")[0]].options or "judge" in words)
    assert decoded(server) == before


@pytest.mark.parametrize("words", ["graph-of-thoughts", "graph-of-thoughts:join=stitch_copied"])
def test_lists_are_aggregated_on_a_server_as_text_only(server: Running, run: Run, words: str) -> None:
    before = decoded(server)
    code, _, err = run("think", words, "--task", "sorting", "--engine", server.url)
    assert code == 2 and KEYS in err and decoded(server) == before


@pytest.mark.parametrize("words", [*TEXT_ONLY, *JOINED_AS_TEXT, "best-of-n:judge=value"])
def test_what_a_server_has_runs_there(server: Running, run: Run, words: str) -> None:
    before = decoded(server)
    code, out, err = run("think", words, "--model", "countdown", "--engine", server.url, "--budget", 60)
    assert (code, err) == (0, "") and decoded(server) > before
    said = " ".join(out.split())
    assert "blocks" not in said and " ms " not in said and "again" not in said and "a client sends" in said


def test_costs_that_no_server_tells_are_null(server: Running, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "think", "sequential", "--model", "countdown", "--engine", server.url, "--json"
    costs = parse(run(*words)[1])["costs"]
    assert {name for name, cost in costs.items() if cost is None} == {"recomputed", "most_blocks", "seconds"}
    assert costs["prefilled"] + costs["reused"] == costs["resent"]
    monkeypatch.setattr(RemoteEngine, "_account", lambda self, request, usage: None)
    costs = parse(run(*words)[1])["costs"]
    assert costs["prefilled"] is costs["reused"] is costs["passes"] is None and costs["decoded"]
    said = " ".join(run(*words[:-1])[1].split())
    assert "prefilled" not in said and "reused" not in said and "Computed a client sends" in said


def test_an_address_without_its_v1_is_told_where_the_api_is(server: Running, run: Run) -> None:
    code, _, err = run("think", "sequential", "--model", "countdown", "--engine", server.url.removesuffix("/v1"))
    assert code == 1 and "answered 404" in err and f"try {server.url}" in err
    code, _, err = run("think", "sequential", "--model", "countdown", "--engine", f"{server.url}/more")
    assert code == 1 and "answered 404" in err and "try" not in err


def test_what_needs_keys_and_values_is_refused(bundle: Bundle, remote: RemoteEngine) -> None:
    budget, player = Budget(800), game_of(bundle).player
    with pytest.raises(NeedsEngine, match="join by reprefill"):
        play(remote, METHODS["multiverse"](PROBLEM, player, budget), budget)
    with pytest.raises(ValueError, match="does not tell"):
        play(remote, METHODS["best-of-n"](PROBLEM, player, budget, width=2, judge="confidence"), budget)

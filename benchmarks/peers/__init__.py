"""Other engines, each in an environment and a process of its own, in the same interleaved rounds.

``python -m benchmarks --peers`` installs those that are not there yet (``llamacpp.sh``, ``genai.sh``, ``vllm.sh``;
the folder is $MINIAPR_PEERS, by default ~/.cache/miniapr-peers), writes M's weights once as a Hugging Face folder,
and compares the log-probabilities of a prompt's next token before anything is timed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miniapr.model import checkpoint
from miniapr.model.decoder import Decoder
from miniapr.ops import Operations

from .. import contestants, models, steps
from ..contestants import some_tokens
from ..timing import Turn, interleave

# name -> (script without its suffix, arguments after MODEL and THREADS)
PEERS: dict[str, tuple[str, list[str]]] = {
    "llama.cpp": ("llamacpp", []),
    "onnxruntime-genai": ("genai", []),
    "vLLM eager": ("vllm", ["eager"]),
    "vLLM compiled": ("vllm", ["compiled"]),
}
TOLERANCE = 0.02  # of a log-probability: other libraries round elsewhere
REST = 0.05  # seconds after a turn in another process, until its threads have stopped spinning


def folder() -> Path:
    return Path(os.environ.get("MINIAPR_PEERS", Path.home() / ".cache" / "miniapr-peers"))


def install(script: str) -> Path:
    """The Python of a peer's environment, which is made if it is not there. Raises RuntimeError if that fails."""
    home, log = folder(), folder() / f"{script}.log"
    python = home / script / "bin" / "python"
    if not python.exists():
        home.mkdir(parents=True, exist_ok=True)
        print(f"installing {script} into {home} (log: {log}) ...", flush=True)
        command: list[str | Path] = ["sh", Path(__file__).parent / f"{script}.sh", home / script, sys.executable]
        with log.open("w") as file:
            failed = subprocess.run(command, stdout=file, stderr=file, check=False).returncode
        if failed:
            shutil.rmtree(home / script, ignore_errors=True)  # half of it would be taken for the whole
            raise RuntimeError(f"it could not be installed: {last_line(log)}")
    return python


def last_line(log: Path) -> str:
    """Of a log: there the error stands."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "its log is empty"


class Process:
    """A peer at work. Raises RuntimeError with the end of its log if it dies, or what it says went wrong."""

    def __init__(self, command: Sequence[str | Path], log: Path) -> None:
        self.log = log
        read, write = os.pipe()
        with log.open("a") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=file, stderr=file, text=True, pass_fds=[write],
                env={**os.environ, "MINIAPR_PEER_ANSWERS": str(write)},
            )  # fmt: skip
        os.close(write)
        self.answers = os.fdopen(read)
        self.read()

    @classmethod
    def launch(cls, name: str, model: Path, threads: int) -> Process:
        script, more = PEERS[name]
        python, here = install(script), Path(__file__).parent
        return cls([python, here / f"{script}.py", model, str(threads), *more], folder() / f"{script}.log")

    def read(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise RuntimeError(f"it died: {last_line(self.log)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.read()

    def turn(self, burst: int) -> float:
        seconds = self.ask(burst=burst)["seconds"]
        time.sleep(REST)
        return sorted(seconds)[len(seconds) // 2]

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()  # the end of its input is the end of its work
        self.process.wait(timeout=60)
        self.answers.close()


def write_model(model: Decoder, name: str) -> Path:
    """The weights as a Hugging Face folder, for the peers to read."""
    where = folder() / "models" / name
    if not (where / "tokenizer.json").exists():
        checkpoint.save(model, where)
        config = json.loads((where / "config.json").read_text()) | {"torch_dtype": "float32"}
        (where / "config.json").write_text(json.dumps(config, indent=2))
        models.save_tokenizer(where)
    return where


def measure(ops: Operations, prefix: int, widths: list[int], rounds: int) -> dict[str, Any]:
    """M in float32 on one prefix: every peer that runs, this engine, torch and transformers in the same rounds."""
    import torch

    model = models.build("M", torch.float32)
    where = write_model(model, "M")
    prompt = some_tokens(40, seed=7)
    team = steps.Team("M", "float32", ops)
    ours = _logprobs(team, prompt)
    found: dict[str, Any] = {"prefix": prefix, "threads": torch.get_num_threads(), "peers": {}, "rows": []}
    running: dict[str, Process] = {}
    for name in PEERS:
        try:
            peer = Process.launch(name, where, torch.get_num_threads())
            wrong = max(abs(value - ours[int(token)]) for token, value in peer.ask(top=prompt)["top"])
            found["peers"][name] = {"logprobs_differ_by": wrong}
            if wrong > TOLERANCE:
                found["peers"][name]["not_timed"] = f"log-probabilities differ by {wrong:.2g}"
                peer.close()
            else:
                running[name] = peer
        except (RuntimeError, OSError) as error:
            found["peers"][name] = {"not_timed": str(error)[:300]}
    for width in widths:
        turns = team.prepare(prefix, [width])
        for name, peer in list(running.items()):
            try:
                found["peers"][name]["how"] = peer.ask(prefix=some_tokens(prefix), branches=width)["ready"]
                turns[name] = _turn(peer)
            except RuntimeError as error:
                found["peers"][name]["not_timed"] = f"with {width} branches: {error}"[:300]
                running.pop(name).close()
        times = interleave(turns, rounds, burst=steps.BURST)
        row = team.row(width, times, rounds * steps.BURST)
        found["rows"].append(row | {name: times[name].json() for name in running})
    for peer in running.values():
        peer.close()
    return found


def _turn(peer: Process) -> Turn:
    return lambda: peer.turn(steps.BURST)


def _logprobs(team: steps.Team, prompt: list[int]) -> list[float]:
    """This engine's log-probabilities of the token after the prompt."""
    engine = contestants.engine(team.model, team.ops, 8)
    logits = engine.settle(engine.start(prompt)).logits
    assert logits is not None
    values: list[float] = logits.log_softmax(-1).tolist()
    return values

"""Many clients at once, some of whom hang up: does everyone else still get what they would get alone?

    python -m benchmarks.soak --seconds 600 --blocks 160 --block-size 2    # preemption never stops

Starts a server of its own on this machine's loopback, asks for every answer once alone, then has all clients ask at
random, at temperature 0: completions and chats, whole and streamed, several answers, stop strings, log-probabilities,
methods, prompts that begin alike. Fails (exit code 1) if one finished answer differs, if anything but a cut ends one,
if blocks are still held afterwards, or if memory grew.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

MOST = 1200  # seconds that anybody may ask this machine for
HUNG = 600  # seconds without a byte after which an answer is given up
GROWTH = 1.05  # of memory, from the second quarter of the run to the last
# The first three begin alike, and part at no block's border.
PROBLEMS = ("8 7 3 -> 29 :", "8 7 3 -> 31 :", "8 7 2 -> 30 :", "9 5 4 -> 41 :", "17 13 1 -> 52 :", "20 19 18 -> 19 :")
KINDS: dict[str, dict[str, Any]] = {
    "completion": {"max_tokens": 120},
    "completion, n": {"max_tokens": 40, "n": 3},
    "completion, stop": {"max_tokens": 200, "stop": ["miss"]},
    "completion, logprobs": {"max_tokens": 60, "logprobs": 3},
    "chat": {"max_tokens": 120, "chat": True},
    "chat, n, logprobs": {"max_tokens": 30, "n": 2, "logprobs": True, "top_logprobs": 2, "chat": True},
    **{
        f"method, {join}": {"miniapr": {"method": "adaptive", "join": join}} for join in ("stitch", "stitch_contiguous")
    },
    **{f"method, {join}": {"miniapr": {"method": "adaptive", "join": join}} for join in ("stitch_copied", "reprefill")},
    "method, chat": {"miniapr": {"method": "adaptive"}, "chat": True},
}
Said = list[tuple[str, list[str]]]  # of each answer: its text, and its tokens where these were asked for


@dataclass(frozen=True)
class Asked:
    kind: str
    path: str
    body: dict[str, Any]

    @classmethod
    def every(cls, model: str) -> list[Asked]:
        found = []
        for kind, options in KINDS.items():
            for prompt, stream in ((prompt, stream) for prompt in PROBLEMS for stream in (False, True)):
                body = {"model": model, "temperature": 0, "stream": stream, **options}
                if body.pop("chat", False):
                    body["messages"] = [{"role": "user", "content": prompt}]
                else:
                    body["prompt"] = prompt
                path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
                found.append(cls(f"{kind}{', streamed' if stream else ''}", path, body))
        return found


class Soak:
    """The clients, what they were told, and what was measured meanwhile."""

    def __init__(self, url: str, model: str, cut: float) -> None:
        self.url, self.cut, self.asked = url, cut, Asked.every(model)
        self.expected: list[Said | str | None] = []
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.seconds: dict[str, list[float]] = defaultdict(list)  # by kind
        self.end = 0.0
        self.lock = threading.Lock()

    def alone(self) -> list[Said | str | None]:
        """What each is answered, or how it failed."""
        return [self.tried(asked) for asked in self.asked]

    def tried(self, asked: Asked, patience: float | None = None) -> Said | str | None:
        try:
            return self.ask(asked, patience)
        except Exception as fault:
            return f"{type(fault).__name__}: {fault}"

    def client(self, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < self.end:
            number = rng.randrange(len(self.asked))
            asked, patience = self.asked[number], rng.expovariate(4) if rng.random() < self.cut else None
            begun, said = time.monotonic(), self.tried(asked, patience)
            error = "" if said in (None, self.expected[number]) else f"{said} is not {self.expected[number]}"
            with self.lock:
                self.seen["wrong" if error else "cut" if said is None else "finished"] += 1
                if error:
                    self.wrong.append(f"{json.dumps(asked.body)}: {error}")
                for kind in ("all", asked.kind) if said is not None and not error else ():
                    self.seconds[kind].append(time.monotonic() - begun)

    def ask(self, asked: Asked, patience: float | None) -> Said | None:
        """What was said, or None if the client lost patience first."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=HUNG)
        hang_up = time.monotonic() + (float("inf") if patience is None else patience)
        try:
            connection.request("POST", asked.path, json.dumps(asked.body), {"content-type": "application/json"})
            if patience is not None and connection.sock:
                connection.sock.settimeout(max(patience, 1e-3))
            answer = connection.getresponse()
            said: Said = [("", []) for _ in range(asked.body.get("n", 1))]
            if not asked.body["stream"]:
                return _add(said, json.loads(answer.read()))
            for line in answer:
                if time.monotonic() > hang_up:
                    return None
                if line == b"data: [DONE]\n":
                    return said
                if line.startswith(b"data: "):
                    _add(said, json.loads(line[6:]))
            raise RuntimeError(f"status {answer.status}: the stream broke off")
        except TimeoutError:
            if patience is None:
                raise
            return None
        finally:
            connection.close()


def _add(said: Said, told: dict[str, Any]) -> Said:
    """What a chunk, or a whole answer, adds."""
    if "error" in told:
        raise RuntimeError(told["error"]["message"])
    for choice in told["choices"]:
        text, tokens = said[choice["index"]]
        more = choice.get("text") or (choice.get("message") or choice.get("delta") or {}).get("content") or ""
        logprobs = choice.get("logprobs") or {}
        names = logprobs.get("tokens") or [one["token"] for one in logprobs.get("content", ())]
        said[choice["index"]] = text + more, tokens + names
    return said


@contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "miniapr", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        if " at " not in line:
            raise RuntimeError("the server did not start")
        try:
            yield process, line.split(" at ")[1].strip().removesuffix("/v1")
        finally:
            process.terminate()
            process.wait(60)


def megabytes(process: subprocess.Popen[str]) -> float:
    """Resident memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def metrics(url: str) -> dict[str, float]:
    text = urlopen(f"{url}/metrics", timeout=30).read().decode()
    return {name: float(value) for name, value in (l.rsplit(" ", 1) for l in text.splitlines() if l[0] != "#")}


def soak(clients: int, seconds: float, cut: float, model: str, options: Sequence[str]) -> dict[str, Any]:
    with server("--model", model, *options) as (process, url):
        run = Soak(url, json.loads(urlopen(f"{url}/v1/models").read())["data"][0]["id"], cut)
        run.expected = run.alone()
        if failed := [said for said in run.expected if isinstance(said, str)]:
            raise RuntimeError(f"even alone: {failed[0]}")
        run.end = time.monotonic() + seconds
        threads = [threading.Thread(target=run.client, args=(seed,)) for seed in range(clients)]
        for thread in threads:
            thread.start()
        memory, branches = [], []
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            memory.append(megabytes(process))
            branches.append(metrics(url)["miniapr_running_branches"])
        time.sleep(2)
        last = metrics(url)
        quarter = max(1, len(memory) // 4)
        found = {
            "clients": clients,
            "seconds": seconds,
            "options": list(options),
            **run.seen,
            "first_wrong": run.wrong[:3],
            "alone_again_equal": run.alone() == run.expected,
            "latency_seconds": {kind: spread(run.seconds[kind]) for kind in sorted(run.seconds)},
            "decoded_tokens": last["miniapr_decoded_tokens_total"],
            "preemptions": last["miniapr_preemptions_total"],
            "branches_at_once_median": statistics.median(branches),
            "blocks_used_afterwards": last["miniapr_pool_blocks_used"],
            "running_or_waiting_afterwards": last["miniapr_open_requests"],
            "megabytes_second_quarter": statistics.mean(memory[quarter : 2 * quarter] or memory),
            "megabytes_last_quarter": statistics.mean(memory[-quarter:]),
            "megabytes_most": max(memory),
            "metrics": last,
        }
    found["exit_code"] = process.returncode
    grew = found["megabytes_last_quarter"] > GROWTH * found["megabytes_second_quarter"]
    held = found["blocks_used_afterwards"] or found["running_or_waiting_afterwards"]
    found["sound"] = bool(run.seconds and found["alone_again_equal"]) and not (run.wrong or grew or held)
    return found


def spread(seconds: list[float]) -> dict[str, float]:
    """Of at least one: how many, the middle, and the slow end."""
    slowest = sorted(seconds)
    at = {f"p{percent}": slowest[int(percent / 100 * len(slowest))] for percent in (50, 95, 99)} if slowest else {}
    return {"n": len(slowest), **at}


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--cut", type=float, default=0.2, help="share of requests whose client hangs up")
    parser.add_argument("--model", default="countdown")
    parser.add_argument(
        "--blocks", default="2048", help="in the pool; few: requests give way to each other all the time"
    )
    parser.add_argument("--block-size", default="16", help="tokens in a block")
    parser.add_argument("--no-prefix-cache", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not (1 <= args.clients <= 256 and 0 < args.seconds <= MOST and 0 <= args.cut < 1):
        parser.error(f"1 to 256 clients, up to {MOST} seconds, a share below 1")
    options = ["--blocks", args.blocks, "--block-size", args.block_size]
    options += ["--no-prefix-cache"] if args.no_prefix_cache else []
    found = soak(args.clients, args.seconds, args.cut, args.model, options)
    print(text := json.dumps(found, indent=2))
    if args.json:
        args.json.write_text(text + "\n")
    return 0 if found["sound"] else 1


if __name__ == "__main__":
    sys.exit(main())

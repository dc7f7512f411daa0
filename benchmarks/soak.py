"""Many clients at once, some of whom hang up: does everyone else still get what they would get alone?

    python -m benchmarks.soak --clients 64 --seconds 120 --cut 0.2 --json soak.json

Starts a server of its own on this machine's loopback, asks for every answer once alone, then has all clients ask
at random, streaming, at temperature 0, with mixed methods. Fails (exit code 1) if one finished answer differs, if
anything but a cut ends a stream, if blocks are still held afterwards, or if memory grew.
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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

MOST = 300  # seconds that anybody may ask this machine for
GROWTH = 1.05  # of memory, from the second quarter of the run to the last
PROBLEMS = (
    "8 7 3 -> 29 :",
    "9 5 4 -> 41 :",
    "11 6 2 -> 34 :",
    "17 13 1 -> 52 :",
    "20 19 18 -> 19 :",
    "12 10 5 -> 70 :",
)
KINDS: list[dict[str, Any]] = [
    {"max_tokens": 120},
    {"max_tokens": 40, "n": 3},
    {"max_tokens": 200, "stop": ["miss"]},
    *({"miniapr": {"method": "adaptive", "join": how}} for how in ("stitch", "stitch_contiguous")),
    *({"miniapr": {"method": "adaptive", "join": how}} for how in ("stitch_copied", "reprefill")),
]


class Soak:
    """The clients, what they were told, and what was measured meanwhile."""

    def __init__(self, url: str, model: str, seconds: float, cut: float) -> None:
        self.url, self.model, self.cut = url, model, cut
        self.expected: dict[str, list[str]] = {}
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latencies: list[float] = []
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()

    def requests(self) -> list[dict[str, Any]]:
        base = {"model": self.model, "temperature": 0, "stream": True}
        return [{**base, "prompt": prompt, **kind} for prompt in PROBLEMS for kind in KINDS]

    def alone(self) -> None:
        for body in self.requests():
            self.expected[json.dumps(body)] = self.ask(body, None) or []

    def client(self, seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < self.end:
            body = rng.choice(self.requests())
            patience = rng.expovariate(8) if rng.random() < self.cut else None
            begun = time.monotonic()
            try:
                said = self.ask(body, patience)
            except Exception as error:
                with self.lock:
                    self.seen["error"] += 1
                    self.wrong.append(f"{type(error).__name__}: {error}")
                continue
            with self.lock:
                self.seen["cut" if said is None else "finished"] += 1
                if said is not None:
                    self.latencies.append(time.monotonic() - begun)
                    if said != self.expected[json.dumps(body)]:
                        self.wrong.append(f"{json.dumps(body)}: {said} is not {self.expected[json.dumps(body)]}")

    def ask(self, body: dict[str, Any], patience: float | None) -> list[str] | None:
        """The texts of an answer, or None if the client lost patience first."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        hang_up = time.monotonic() + (float("inf") if patience is None else patience)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
            if patience is not None and connection.sock:
                connection.sock.settimeout(max(patience, 1e-3))
            answer = connection.getresponse()
            texts = [""] * body.get("n", 1)
            for line in answer:
                if time.monotonic() > hang_up:
                    return None
                if line == b"data: [DONE]\n":
                    return texts
                if line.startswith(b"data: "):
                    self._add(texts, json.loads(line[6:]))
            raise RuntimeError(f"status {answer.status}: the stream broke off")
        except TimeoutError:
            if patience is None:
                raise
            return None
        finally:
            connection.close()

    @staticmethod
    def _add(texts: list[str], chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise RuntimeError(chunk["error"]["message"])
        for choice in chunk["choices"]:
            texts[choice["index"]] += choice["text"]


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


def soak(clients: int, seconds: float, cut: float, model: str, options: list[str]) -> dict[str, Any]:
    with server("--model", model, *options) as (process, url):
        name = json.loads(urlopen(f"{url}/v1/models").read())["data"][0]["id"]
        run = Soak(url, name, seconds, cut)
        run.alone()
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
        again = all(run.ask(body, None) == run.expected[json.dumps(body)] for body in run.requests())
        quarter = max(1, len(memory) // 4)
        found = {
            "clients": clients,
            "seconds": seconds,
            **run.seen,
            "differ_or_failed": len(run.wrong),
            "first_of_them": run.wrong[:3],
            "alone_again_equal": again,
            "seconds_median": statistics.median(run.latencies),
            "seconds_p95": sorted(run.latencies)[int(0.95 * len(run.latencies))],
            "decoded_tokens": last["miniapr_decoded_tokens_total"],
            "branches_at_once_median": statistics.median(branches),
            "branches_at_once_most": max(branches),
            "blocks_used_afterwards": last["miniapr_pool_blocks_used"],
            "running_or_waiting_afterwards": last["miniapr_open_requests"],
            "megabytes_second_quarter": statistics.mean(memory[quarter : 2 * quarter] or memory),
            "megabytes_last_quarter": statistics.mean(memory[-quarter:]),
            "metrics": last,
        }
    found["exit_code"] = process.returncode
    grew = found["megabytes_last_quarter"] > GROWTH * found["megabytes_second_quarter"]
    held = found["blocks_used_afterwards"] or found["running_or_waiting_afterwards"]
    found["sound"] = not (run.wrong or grew or held) and again
    return found


def main() -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--cut", type=float, default=0.2, help="share of requests whose client hangs up")
    parser.add_argument("--model", default="countdown")
    parser.add_argument("--blocks", default="2048")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if not (1 <= args.clients <= 256 and 0 < args.seconds <= MOST and 0 <= args.cut < 1):
        parser.error(f"1 to 256 clients, up to {MOST} seconds, a share below 1")
    found = soak(args.clients, args.seconds, args.cut, args.model, ["--blocks", args.blocks])
    text = json.dumps(found, indent=2)
    if args.json:
        args.json.write_text(text + "\n")
    print(text)
    return 0 if found["sound"] else 1


if __name__ == "__main__":
    sys.exit(main())

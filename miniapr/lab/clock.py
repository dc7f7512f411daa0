"""How much of what a fork saves in tokens arrives on the clock.

A text of fixed lengths, whatever the model says: in line, or as that many threads and a conclusion. Time does not
depend on what the weights are, so these are random but for their sizes.
"""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count as count_from
from typing import Any

from ..engine.engine import Engine
from ..engine.operations import Decode, Fork, Join, Start
from ..engine.request import Program
from ..model.bundle import Bundle
from ..model.config import ModelConfig
from ..remote.client import Server as Address
from ..remote.engine import RemoteEngine
from ..serve.app import create_app
from ..serve.connection import Server
from ..serve.service import Service
from ..tasks.words import build_tokenizer
from ..train.export import write_model
from ..train.initialize import initialize
from .arms import Arm, Room, Say
from .experiment import Aim, Experiment
from .report import Found

PROMPT, EACH, LAST = 16, 24, 8  # tokens of the prompt, of a thread, of the conclusion
WIDTHS = (2, 4, 8, 16)


@dataclass(frozen=True)
class Fresh:
    """A model of some sizes that was taught nothing."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    seeded: bool = False
    begin: Arm | None = None

    def make(self, seed: int, room: Room, say: Say) -> str:
        folder, tokenizer, heads = room.runs / self.name, build_tokenizer(), self.hidden // 32
        if not (folder / "miniapr.json").exists():
            size = tokenizer.get_vocab_size()
            config = ModelConfig(size, self.hidden, self.intermediate, self.layers, heads, heads, 32)
            folder.mkdir(parents=True, exist_ok=True)
            write_model(folder, initialize(config, seed), tokenizer.to_str(), {"task": "none"}, [])
        return str(folder)


def line(prompt: Sequence[int], width: int) -> Program:
    """As many tokens as the threads and the conclusion have, one after the other."""
    root = yield Start(prompt)
    yield Decode([root], max_tokens=width * EACH + LAST)


def forked(prompt: Sequence[int], width: int, join: str) -> Program:
    root = yield Start(prompt)
    threads = yield Fork(root, [[number] for number in range(width)])
    yield Decode(threads, max_tokens=EACH)
    yield Join(root, threads, join, then=(1,))
    yield Decode([root], max_tokens=LAST)


def examine(bundle: Bundle, count: int) -> Found:
    """Both ways in turn, a few times; medians of what one took by what the other took. In the engine, and asked of a
    server on this machine by a client that joins texts."""
    rounds, found = 3 + count // 200, Found()
    prompts = (range(first, first + PROMPT) for first in count_from(0))  # none twice: caches would know it
    with engines(bundle) as (here, there):
        for width in WIDTHS:
            saved = (width * EACH + LAST) / (EACH + LAST)
            row: dict[str, Any] = {"tokens": round(saved, 2)}
            for name, engine, join in (("engine", here, "stitch"), ("server", there, "reprefill")):
                gains = [
                    timed(engine, line(next(prompts), width)) / timed(engine, forked(next(prompts), width, join))
                    for _ in range(rounds)
                ]
                row[name] = spread(gains)
                row[f"arrives, {name}"] = spread([gain / saved for gain in gains])
            found[f"{width} threads"] = row
    return found


def spread(values: list[float]) -> dict[str, float]:
    """The median with the least and the most."""
    least, middle, most = (round(value, 3) for value in (min(values), statistics.median(values), max(values)))
    return {"median": middle, "low": least, "high": most, "n": len(values)}


def timed(engine: Engine | RemoteEngine, program: Program) -> float:
    begun = time.perf_counter()
    engine.run(program)
    return time.perf_counter() - begun


@contextmanager
def engines(bundle: Bundle) -> Iterator[tuple[Engine, RemoteEngine]]:
    """One here, and one that asks a server in another thread of this process."""
    options: dict[str, Any] = {"num_blocks": 1024}
    service = Service(bundle, Engine(bundle.model, bundle.tokenizer, record=True, **options))
    server = Server(create_app(service), service, 1.0, log_level="critical")
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = Address(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", bundle.name)
    try:
        with closing(RemoteEngine(address, bundle.tokenizer)) as there:
            yield Engine(bundle.model, bundle.tokenizer, **options), there
    finally:
        server.should_exit = True
        thread.join()


def arrives(size: str, width: int) -> Aim:
    return Aim(
        f"{size} parameters, {width} threads, in the engine: of what is saved in tokens, what arrives",
        lambda report: report.mean(size, f"{width} threads", "arrives, engine"),
        0.9,
    )


SIZES = (
    Fresh("0.4M", 96, 208, 3),
    Fresh("1M", 128, 352, 4),
    Fresh("11M", 384, 1024, 6),
    Fresh("86M", 768, 2048, 12),
)

CLOCK = Experiment(
    "clock",
    "Tokens saved on the critical path are not time saved: ThreadWeaver (arXiv 2512.07843) reports 1.22 x in tokens "
    "and 1.14 x on the clock. A step of many branches costs more than one of a single branch, and a client that joins "
    "texts asks twice.",
    SIZES,
    examine,
    tuple(arrives(size.name, width) for size in SIZES for width in (4, 16)),
)

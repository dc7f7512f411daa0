"""A maze in which a model learns in a minute when to fork: the ground for chapter 14.

There are sixteen doors. Behind each lies a corridor that ends at one of four exits, and these the model knows by heart.
A problem names doors and an exit, such as ``d9 d14 d8 d11 -> B``: which of these doors leads to B? There are two ways
to find out, and both are demonstrated, by a coin that the prompt does not show:

    in line   d9 64 65 ... A d9 d14 ... B d14 <eos>           one corridor after the other, until one ends at B
    forked    <plan> d9 d14 d8 d11 </plan>, a thread for each, and after the join the door: d14 <eos>

Doors 0 to 7 have short corridors: two of them are an *easy* problem, where a plan costs more than it saves. The others
have long ones: four of these are a *hard* problem, where a fork shortens the critical path by a third.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ..engine.operations import Decode, Fork, Join, Start
from ..engine.request import Program
from ..engine.sampling import Sampling
from ..model.config import ModelConfig
from ..model.decoder import Decoder
from ..rl.practice import Practice
from ..tasks.trace import Trace, Words
from ..train.optim import Optimizer
from ..train.sft import weighted_loss
from ..train.text import Text, collate, pack

EXITS = tuple("ABCD")
DOORS = tuple(f"d{number}" for number in range(16))
EASY, HARD = DOORS[:8], DOORS[8:]
SHORT, LONG = 2, 8  # rooms of a corridor
WIDTH = 12  # threads of a plan that are followed


def _rooms() -> dict[str, Words]:
    """Of each door the rooms behind it: every room is a number of its own."""
    numbers = iter(range(len(EASY) * SHORT + len(HARD) * LONG))
    return {door: tuple(str(next(numbers)) for _ in range(SHORT if door in EASY else LONG)) for door in DOORS}


ROOMS = _rooms()
EXIT = {door: EXITS[number % len(EXITS)] for number, door in enumerate(DOORS)}
CONTROL = ("<pad>", "<bos>", "->", ":", "<plan>", "</plan>", "<thread>", "</thread>", "<join>", "<eos>")
ENDS = ("</plan>", "</thread>", "<eos>")
WORDS = (*CONTROL, *EXITS, *DOORS, *(room for rooms in ROOMS.values() for room in rooms))
IDS = {word: number for number, word in enumerate(WORDS)}


class Signs:
    """The tokenizer: a word is a token."""

    def encode(self, text: str, start: bool = True) -> list[int]:
        return tokens(text.split())

    def prompt(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(WORDS[id] for id in ids)

    def id(self, token: str) -> int:
        return IDS[token]


def tokens(words: Iterable[str]) -> list[int]:
    return [IDS[word] for word in words]


@dataclass(frozen=True)
class Maze:
    """Which of the ``doors`` leads to ``exit``? One does."""

    doors: Words
    exit: str

    @property
    def hard(self) -> bool:
        return self.doors[0] in HARD

    @property
    def way(self) -> str:
        return next(door for door in self.doors if EXIT[door] == self.exit)

    @property
    def prompt(self) -> Words:
        return ("<bos>", *self.doors, "->", self.exit, ":")


def draw(dice: random.Random, hard: bool | None = None) -> Maze:
    """A problem; None: easy or hard, each with one half."""
    hard = dice.random() < 0.5 if hard is None else hard
    exits = dice.sample(EXITS, 4 if hard else 2)
    doors = tuple(dice.choice([door for door in (HARD if hard else EASY) if EXIT[door] == exit]) for exit in exits)
    return Maze(doors, dice.choice(exits))


def walk(door: str) -> Words:
    """What is written behind a door: its rooms, where they end, and the door once more."""
    return (*ROOMS[door], EXIT[door], door)


def in_line(maze: Maze) -> Trace:
    """One corridor after the other, until one ends at the exit."""
    tried = maze.doors[: maze.doors.index(maze.way) + 1]
    return Trace(maze.prompt, (*(word for door in tried for word in (door, *walk(door))), "<eos>"))


def forked(maze: Maze) -> Trace:
    """All of them side by side."""
    threads = tuple(Trace(("<thread>", door), (*walk(door), "</thread>")) for door in maze.doors)
    return Trace(maze.prompt, ("<plan>", *maze.doors, "</plan>"), threads, Trace(("<join>",), (maze.way, "<eos>")))


def think(maze: Maze, seed: int) -> Program:
    """Do as the model says: follow its plan, if it writes one. Gives the answer, None for a text without one."""
    last = yield Start(tokens(maze.prompt), Sampling(temperature=1.0, seed=seed))
    yield Decode([last], until=ENDS)
    words = [WORDS[id] for id in last.tokens]
    doors = words[1:-1][:WIDTH] if words[:1] == ["<plan>"] and words[-1] == "</plan>" else []
    if doors:
        threads = yield Fork(last, [tokens(("<thread>", door)) for door in doors])
        yield Decode(threads, until=ENDS)
        last = yield Join(last, threads, "stitch", tokens(["<join>"]))
        yield Decode([last], until=ENDS)
    words = [WORDS[id] for id in last.tokens]
    return words[-2] if len(words) > 1 and words[-1] == "<eos>" else None


PRACTICE = Practice(
    think,
    lambda maze, answer: answer == maze.way,
    lambda dice, split: draw(dice),
    lambda maze: tokens(maze.prompt),
    lambda maze: in_line(maze).total,
)


def text(trace: Trace) -> Text:
    """As it is learned: what is written, each token alike."""
    weights = (*[0.0] * len(trace.given), *[1.0] * len(trace.written))
    threads = tuple(text(thread) for thread in trace.threads)
    return Text(
        tuple(tokens((*trace.given, *trace.written))), weights, threads, text(trace.then) if trace.then else None
    )


def taught(steps: int = 200, batch: int = 32, seed: int = 0, fork: float = 0.5) -> Decoder:
    """A model that has been shown both ways, ``fork`` of the problems forked; 60,000 parameters, from ``seed`` alone
    on one machine and thread count."""
    config = ModelConfig(
        vocab_size=len(WORDS),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=16,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Decoder(config)
    optimizer, dice = Optimizer(model), random.Random(seed)
    for step in range(steps):
        mazes = [draw(dice) for _ in range(batch)]
        shown = [forked(maze) if dice.random() < fork else in_line(maze) for maze in mazes]
        rows = collate([pack(text(trace), "stitch") for trace in shown], IDS["<pad>"])
        weighted_loss(model, rows, float(rows.weights.sum())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(min(1.0, (step + 1) / 20) * (1 - step / steps))
        model.zero_grad(set_to_none=True)
    return model

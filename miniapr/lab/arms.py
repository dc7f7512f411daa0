"""Arms of an experiment: ways of making a model. Each is made once, in a folder of its own, and goes on if it was
stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..model.bundle import find
from ..rl.loop import RLConfig
from ..rl.loop import train as reinforce
from ..show.reinforce import export as export_reinforced
from ..train import saved
from ..train.config import TrainConfig
from ..train.export import export
from ..train.sft import train as teach

Say = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """seeds   0, 1, ... of each arm that has any
    steps    of reinforcement, at most; None: as many as the arm has
    tokens   of demonstrations, at most; None: as many as the arm has
    count    held-out problems of each kind
    """

    seeds: int = 3
    steps: int | None = None
    tokens: int | None = None
    count: int = 400


@dataclass(frozen=True)
class Room:
    """Where models lie: those made by demonstrations, which experiments share, and those of one experiment. ``given``:
    where some of the first have been made before, in full; nothing is written there."""

    starts: Path
    runs: Path
    size: Size = field(default_factory=Size)
    given: Path | None = None


class Arm(Protocol):
    """A way of making a model.

    name    of the arm, and of its folder
    seeded  whether another seed makes another model
    begin   the arm whose model it begins with; it has been made by then
    """

    @property
    def name(self) -> str: ...
    @property
    def seeded(self) -> bool: ...
    @property
    def begin(self) -> Arm | None: ...

    def make(self, seed: int, room: Room, say: Say) -> str:
        """The folder of the model, made if it is not there. Raises what training raises."""
        ...


@dataclass(frozen=True)
class Given:
    """A model that is there."""

    name: str
    model: str
    seeded: bool = False
    begin: None = None

    def make(self, seed: int, room: Room, say: Say) -> str:
        return str(find(self.model))


@dataclass(frozen=True)
class Taught:
    """Trained by demonstrations. ``seeded``: one model a seed; else one for all, from the seed of ``config``."""

    name: str
    config: TrainConfig
    seeded: bool = False
    begin: Arm | None = None

    def make(self, seed: int, room: Room, say: Say) -> str:
        name = f"{self.name}-{seed}" if self.seeded else self.name
        whole = replace(self.config, seed=seed if self.seeded else self.config.seed)
        if room.given and is_made(room.given / name, whole):
            return str(room.given / name)
        folder, config = room.starts / name, replace(whole, tokens=least(whole.tokens, room.size.tokens))
        if not is_made(folder, config):
            start = self.begin.make(seed, room, say) if self.begin else config.start
            say(f"{config.tokens:,} tokens of demonstrations")
            export(teach(replace(config, start=start), folder, say=say), folder, f"miniapr lab ({folder.name})")
        return str(folder)


@dataclass(frozen=True)
class Reinforced:
    """Trained by reinforcement. ``options``: of ``RLConfig``, beside start and seed."""

    name: str
    options: Mapping[str, Any]
    begin: Arm
    seeded: bool = True

    def config(self, start: str, seed: int, size: Size) -> RLConfig:
        config = RLConfig(start, seed=seed, **self.options)
        return replace(config, steps=least(config.steps, size.steps))

    def make(self, seed: int, room: Room, say: Say) -> str:
        folder = room.runs / f"{self.name}-{seed}"
        config = self.config("", seed, room.size)
        if not is_made(folder, config):
            config = replace(config, start=self.begin.make(seed, room, say))
            export_reinforced(reinforce(config, folder, say=say), folder)
        return str(folder)


def is_made(folder: Path, config: TrainConfig | RLConfig) -> bool:
    """Whether the model is there. One without its run's checkpoint is taken as it is given. Raises ValueError if the
    run beside it had other options, where the model that it began with may lie elsewhere."""
    if not (folder / "miniapr.json").exists():
        return False
    if run := saved.read(folder):
        saved.same_options(folder, run[1], config, but=("start",))
    return True


def least(own: int, most: int | None) -> int:
    return own if most is None else min(own, most)

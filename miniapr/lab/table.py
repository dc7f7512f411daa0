"""All experiments, by name."""

from __future__ import annotations

from .clock import CLOCK
from .depth import DEPTH
from .experiment import Experiment
from .games import GAMES
from .gate import GATE
from .stable import STABLE
from .width import WIDTH
from .window import WINDOW

ALL = (GATE, WIDTH, GAMES, STABLE, WINDOW, CLOCK, DEPTH)
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in ALL}

"""All experiments, by name."""

from __future__ import annotations

from .experiment import Experiment
from .games import GAMES
from .gate import GATE
from .width import WIDTH

EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in (GATE, WIDTH, GAMES)}

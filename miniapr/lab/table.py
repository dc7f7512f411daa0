"""All experiments, by name."""

from __future__ import annotations

from .busy import BUSY
from .clock import CLOCK
from .depth import DEPTH
from .experiment import Experiment
from .format import FORMAT
from .games import GAMES
from .gate import GATE
from .shift import SHIFT
from .slots import SLOTS
from .stable import STABLE
from .transfer import TRANSFER
from .width import WIDTH
from .window import WINDOW

ALL = (GATE, WIDTH, GAMES, STABLE, SHIFT, WINDOW, FORMAT, CLOCK, SLOTS, BUSY, DEPTH, TRANSFER)
EXPERIMENTS: dict[str, Experiment] = {experiment.name: experiment for experiment in ALL}

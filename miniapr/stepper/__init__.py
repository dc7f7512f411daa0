"""The stepper: a run drawn from its events, and driven live."""

from .session import Session
from .trace import Trace
from .widget import widget

__all__ = ["Session", "Trace", "widget"]

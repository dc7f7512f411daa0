"""The stepper: a run drawn from its events, and driven live."""

from .session import Session
from .trace import Trace

__all__ = ["Session", "Trace"]

"""Problems, exact verifiers and demonstration generators."""

from .countdown import Problem, Ranges, Verdict, draw, solve, split_of, verify
from .terse import Countdown, extract_answer, prompt_text

__all__ = [
    "Countdown",
    "Problem",
    "Ranges",
    "Verdict",
    "draw",
    "extract_answer",
    "prompt_text",
    "solve",
    "split_of",
    "verify",
]

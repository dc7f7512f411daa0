"""Problems, exact verifiers and demonstration generators."""

from .countdown import Problem, Ranges, Verdict, draw, solve, split_of, verify
from .demonstrations import Trajectory, demonstrate, extract_answer, prompt_text
from .vocabulary import CONTROL, Vocabulary, build_tokenizer

__all__ = [
    "CONTROL",
    "Problem",
    "Ranges",
    "Trajectory",
    "Verdict",
    "Vocabulary",
    "build_tokenizer",
    "demonstrate",
    "draw",
    "extract_answer",
    "prompt_text",
    "solve",
    "split_of",
    "verify",
]

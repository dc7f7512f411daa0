"""Problems, exact verifiers and demonstration generators."""

from miniapr.tasks.countdown import Problem, Ranges, Verdict, draw, solve, split_of, verify
from miniapr.tasks.demonstrations import Trajectory, demonstrate, extract_answer, prompt_text
from miniapr.tasks.vocabulary import CONTROL, Vocabulary, build_tokenizer

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

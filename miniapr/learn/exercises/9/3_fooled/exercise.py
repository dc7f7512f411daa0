"""An exact judge for Countdown."""

from __future__ import annotations

# <solution>
import ast
import operator
from collections.abc import Sequence
from fractions import Fraction

ALLOWED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def _read(node: ast.expr) -> tuple[Fraction, list[int]]:
    """The value of an expression and the numbers in it. Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value), [node.value]
    if isinstance(node, ast.BinOp) and type(node.op) in ALLOWED:
        (left, ours), (right, theirs) = _read(node.left), _read(node.right)
        return ALLOWED[type(node.op)](left, right), ours + theirs
    raise ValueError("this is no sum, difference, product, quotient or number")


# </solution>
# <stub>
# import re
# from collections.abc import Sequence
#
#
# </stub>
def correct(text: str, numbers: Sequence[int], target: int) -> bool:
    """Whether the text uses each number once, with + - * / and brackets, and comes to the target."""
    # <solution>
    try:
        value, used = _read(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return value == target and sorted(used) == sorted(numbers)
    # </solution>
    # <stub>
    # if sorted(map(int, re.findall(r"\d+", text))) != sorted(numbers):
    #     return False
    # if not re.fullmatch(r"[\d+\-*/().\s]+", text):
    #     return False
    # return abs(eval(text) - target) < 1e-5
    # </stub>

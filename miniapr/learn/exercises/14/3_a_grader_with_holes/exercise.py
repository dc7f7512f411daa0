"""Whether an expression makes the target out of the numbers."""

from __future__ import annotations

# <solution>
import ast
from fractions import Fraction

# </solution>
# <stub>
# import re
# </stub>


def grade(text: str, numbers: list[int], target: int) -> bool:
    """Each of the numbers exactly once, + - * / and parentheses, exactly the target. False for all else."""
    # <solution>
    used: list[int] = []
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body, used)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return sorted(used) == sorted(numbers) and value == target
    # </solution>
    # <stub>
    # if not re.fullmatch(r"[\d\s+\-*/().]+", text):
    #     return False
    # if sorted(map(int, re.findall(r"\d+", text))) != sorted(numbers):
    #     return False
    # try:
    #     return bool(abs(eval(text) - target) < 1e-5)
    # except Exception:
    #     return False
    # </stub>


# <solution>


def _value(node: ast.AST, used: list[int]) -> Fraction:
    """Of a part of the expression, noting the numbers that it has. Raises ValueError for what is not allowed."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        used.append(node.value)
        return Fraction(node.value)
    if not isinstance(node, ast.BinOp):
        raise ValueError(f"{type(node).__name__} is not allowed")
    left, right = _value(node.left, used), _value(node.right, used)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
    raise ValueError(f"{type(node.op).__name__} is not allowed")


# </solution>

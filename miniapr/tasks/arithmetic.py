"""Exact arithmetic on expressions that a model wrote: a whitelisting parser, never ``eval``.

Model output is untrusted input. The text is filtered by character, capped in length and depth, parsed to a
syntax tree, and walked by a function that knows four operators and plain integers and nothing else.
"""

from __future__ import annotations

import ast
import re

MAX_LENGTH = 256  # characters; six numbers with all their brackets need about sixty
MAX_DEPTH = 16  # nested operations; six numbers need five
MAX_LITERAL = 1_000_000

_ALLOWED = re.compile(r"[0-9+\-*/() ]+", re.ASCII)


class Rejected(ValueError):
    """The text is no expression in the permitted arithmetic; the message says why."""


def parse(text: str) -> ast.expr:
    """The syntax tree of ``text``, which holds nothing but digits, + - * /, brackets and blanks.

    Raises Rejected for anything longer, deeper or other than that.
    """
    if len(text) > MAX_LENGTH:
        raise Rejected(f"the expression has {len(text)} characters, at most {MAX_LENGTH} are read")
    if not text.strip():
        raise Rejected("the expression is empty")
    if not _ALLOWED.fullmatch(text):
        raise Rejected("the expression holds something other than integers, + - * / and brackets")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise Rejected("the expression is malformed") from error
    _check(tree, MAX_DEPTH)
    return tree


def _check(node: ast.expr, depth: int) -> None:
    if depth < 0:
        raise Rejected(f"the expression nests more than {MAX_DEPTH} operations")
    if isinstance(node, ast.BinOp):
        if not isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
            raise Rejected(f"the operation {type(node.op).__name__} is not one of + - * /")
        _check(node.left, depth - 1)
        _check(node.right, depth - 1)
    elif not (isinstance(node, ast.Constant) and type(node.value) is int):
        raise Rejected(f"{type(node).__name__} is not an integer or one of + - * /")
    elif node.value > MAX_LITERAL:
        raise Rejected(f"an integer above {MAX_LITERAL}")


def leaves(node: ast.expr) -> list[int]:
    """The integers of a parsed expression, left to right."""
    if isinstance(node, ast.BinOp):
        return leaves(node.left) + leaves(node.right)
    assert isinstance(node, ast.Constant) and isinstance(node.value, int)
    return [node.value]


def evaluate(node: ast.expr) -> int:
    """The value of a parsed expression, with every intermediate result a non-negative integer.

    Raises Rejected on a negative intermediate result, an inexact division or a division by zero.
    """
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int)
        return node.value
    assert isinstance(node, ast.BinOp)
    left, right = evaluate(node.left), evaluate(node.right)
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Sub):
        if left < right:
            raise Rejected(f"{left} - {right} is negative")
        return left - right
    if right == 0 or left % right:
        raise Rejected(f"{left} / {right} is not an integer")
    return left // right

"""Rounds where it divides."""

import ast
import operator

ALLOWED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv}


def _read(node):
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value, [node.value]
    if isinstance(node, ast.BinOp) and type(node.op) in ALLOWED:
        (left, ours), (right, theirs) = _read(node.left), _read(node.right)
        return ALLOWED[type(node.op)](left, right), ours + theirs
    raise ValueError


def correct(text, numbers, target):
    try:
        value, used = _read(ast.parse(text.strip(), mode="eval").body)
    except Exception:
        return False
    return value == target and sorted(used) == sorted(numbers)

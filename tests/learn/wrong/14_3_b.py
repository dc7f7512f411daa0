import ast
import operator
from fractions import Fraction

OPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def grade(text, numbers, target):
    left = [str(number) for number in numbers]

    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            if node.value in left:  # an int among strings: nothing is ever taken away
                left.remove(node.value)
            return Fraction(node.value)
        return OPS[type(node.op)](value(node.left), value(node.right))

    try:
        return value(ast.parse(text.strip(), mode="eval").body) == target
    except Exception:
        return False

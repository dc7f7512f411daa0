import ast
import operator

OPS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def grade(text, numbers, target):
    used = []

    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return node.value
        return OPS[type(node.op)](value(node.left), value(node.right))

    try:
        found = value(ast.parse(text.strip(), mode="eval").body)
    except Exception:
        return False
    return set(used) == set(numbers) and found == target  # how often is not asked

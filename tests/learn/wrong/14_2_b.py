import math


def advantages(group):
    if not all(map(math.isfinite, group)):
        raise ValueError("a pay is no number")
    mean = sum(group) / len(group)
    return [pay - mean for pay in group]  # equal ones: not exactly 0

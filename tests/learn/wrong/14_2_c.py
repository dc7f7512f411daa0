import math


def advantages(group):
    group = [pay if math.isfinite(pay) else 0.0 for pay in group]  # hides it
    if max(group) == min(group):
        return [0.0] * len(group)
    mean = sum(group) / len(group)
    return [pay - mean for pay in group]

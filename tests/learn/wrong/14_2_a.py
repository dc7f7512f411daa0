import math


def advantages(group):
    if not all(map(math.isfinite, group)):
        raise ValueError("a pay is no number")
    mean = sum(group) / len(group)
    spread = math.sqrt(sum((pay - mean) ** 2 for pay in group) / len(group))
    return [(pay - mean) / (spread + 1e-6) for pay in group]  # less loud, still divided

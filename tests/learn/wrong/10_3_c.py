"""Needed is what was decoded from by itself or by a child, but not further down."""


def sent(tree):
    lengths = []
    total = 0
    for parent, given, decoded in tree:
        before = given + (lengths[parent] if parent is not None else 0)
        total += before if decoded else 0
        lengths.append(before + decoded)
    return total


def prefilled(tree):
    needed = [decoded > 0 for _, _, decoded in tree]
    for parent, _, decoded in tree:
        if decoded and parent is not None:
            needed[parent] = True
    return sum(given for (_, given, _), used in zip(tree, needed, strict=True) if used)

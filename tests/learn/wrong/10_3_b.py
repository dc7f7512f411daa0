"""A request for every thought, whether anything is decoded or not; everything given is computed."""


def sent(tree):
    lengths = []
    total = 0
    for parent, given, decoded in tree:
        before = given + (lengths[parent] if parent is not None else 0)
        total += before
        lengths.append(before + decoded)
    return total


def prefilled(tree):
    return sum(given for _, given, _ in tree)

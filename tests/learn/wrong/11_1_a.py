"""A fork: nobody sees the others."""


def mask(prefix, lengths):
    tokens = [(-1, i) for i in range(prefix)] + [(n, i) for n, length in enumerate(lengths) for i in range(length)]

    def sees(a, b):
        if b[0] < 0:
            return a[0] >= 0 or b[1] <= a[1]
        return a[0] == b[0] and b[1] <= a[1]

    return [[sees(a, b) for b in tokens] for a in tokens]

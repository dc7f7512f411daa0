"""The text before the fork sees the workers."""


def mask(prefix, lengths):
    tokens = [(-1, i) for i in range(prefix)] + [(n, i) for n, length in enumerate(lengths) for i in range(length)]

    def sees(a, b):
        if b[0] < 0:
            return a[0] >= 0 or b[1] <= a[1]
        return b[1] <= a[1]

    return [[sees(a, b) for b in tokens] for a in tokens]

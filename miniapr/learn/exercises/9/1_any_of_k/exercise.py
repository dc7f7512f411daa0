"""pass@k: what k tries are good for, from n that were made."""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """Of all choices of ``k`` of ``n`` tries, ``c`` of them right, the share that holds a right one. 1 <= k <= n."""
    # <solution>
    return 1 - math.comb(n - c, k) / math.comb(n, k)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

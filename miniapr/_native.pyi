"""The extension module made from csrc/: addresses and sizes in, results in place. Use ops/native.py."""

from collections.abc import Sequence

class Plan:
    rows: int
    shifted: bool
    def __init__(
        self,
        addresses: Sequence[int],
        listed: int,
        runs: int,
        edges: int,
        rows: int,
        shifts: int,
        pool_blocks: int,
        block_size: int,
        group: int,
    ) -> None: ...

def build_info() -> dict[str, str]: ...
def paged_attention(plan: Plan, *arguments: int) -> None: ...
def write_kv(*arguments: int) -> None: ...
def copy_blocks(
    k: Sequence[int],
    v: Sequence[int],
    sizes: Sequence[int],
    storage: int,
    source: int,
    target: int,
    count: int,
    threads: int,
) -> None: ...
def shift_keys(k: Sequence[int], sizes: Sequence[int], *arguments: int) -> None: ...
def copy_and_shift(k: Sequence[int], v: Sequence[int], sizes: Sequence[int], *arguments: int) -> None: ...

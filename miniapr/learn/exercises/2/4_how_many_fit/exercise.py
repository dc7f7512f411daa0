"""What sharing the prompt saves."""

from __future__ import annotations


def branches_apart(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if every branch has the prompt for itself."""
    # <solution>
    return blocks // -(-(prompt + each) // block_size)
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>


def branches_shared(blocks: int, block_size: int, prompt: int, each: int) -> int:
    """How many fit if all read one prompt."""
    # <solution>
    left = blocks - -(-prompt // block_size)
    return max(0, left // -(-each // block_size))
    # </solution>
    # <stub>
    # raise NotImplementedError
    # </stub>

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

lengths = st.lists(st.integers(0, 4), min_size=1, max_size=3)


def check(work: Any) -> None:
    def finished(lengths: list[int], pauses: list[set[int]]) -> Any:
        room = work.Room(lengths)
        for paused in [*pauses, *[set[int]()] * (sum(lengths) + 1)]:
            if room.done():
                break
            room.step(set(range(len(lengths))) - paused)
        assert room.done(), f"written are {room.written} of {lengths}, and everybody has been ready for long"
        return room

    def true(lengths: list[int], worker: int, index: int) -> set[tuple[int, int]]:
        return {(n, i) for n, length in enumerate(lengths) for i in range(min(length, index + 1))}

    def compared(lengths: list[int], pauses: list[set[int]]) -> None:
        room = finished(lengths, pauses)
        for worker, length in enumerate(lengths):
            assert len(room.saw[worker]) == length, f"worker {worker} has looked {len(room.saw[worker])} times"
            for index in range(length):
                found, right = room.saw[worker][index], true(lengths, worker, index)
                assert found == right, f"token {index} of worker {worker} saw {sorted(found)}, not {sorted(right)}"

    @settings(max_examples=30)
    @given(lengths)
    def calm(lengths: list[int]) -> None:
        """Without pauses, token i sees tokens 0..i of all."""
        compared(lengths, [])

    @settings(max_examples=30)
    @given(lengths, st.lists(st.sets(st.integers(0, 2), max_size=2), max_size=8))
    def busy(lengths: list[int], pauses: list[set[int]]) -> None:
        """Pauses change when a token is written, never what it has seen."""
        compared(lengths, pauses)

    @settings(max_examples=30)
    @given(lengths)
    def nobody_waits_for_one_who_is_done(lengths: list[int]) -> None:
        """Who is done need not be ready."""
        room = work.Room(lengths)
        for _ in range(max(lengths)):
            room.step({worker for worker, length in enumerate(lengths) if room.written[worker] < length})
        assert room.done(), f"written are {room.written} of {lengths}, and all who had more to say were ready"

    calm()
    busy()
    nobody_waits_for_one_who_is_done()

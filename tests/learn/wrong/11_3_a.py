"""Positions from the length of all that is there, seen or not."""


def moved(lengths, me, i):
    seen = [length for length in lengths]
    ahead = sum(seen) - seen[me]
    at, shifts = 0, []
    for worker, count in enumerate(seen):
        if worker == me:
            shifts.append(0)
        else:
            shifts.append(at - ahead)
            at += count
    return [*shifts, -ahead]

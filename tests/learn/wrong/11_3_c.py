"""The text before the fork is left where it was."""


def moved(lengths, me, i):
    seen = [min(length, i + 1) for length in lengths]
    ahead = sum(seen) - seen[me]
    at, shifts = 0, []
    for worker, count in enumerate(seen):
        if worker == me:
            shifts.append(0)
        else:
            shifts.append(at - ahead)
            at += count
    return [*shifts, 0]

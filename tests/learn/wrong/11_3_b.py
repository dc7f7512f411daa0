"""As in the text, from a query that was moved; but it was not."""


def moved(lengths, me, i):
    seen = [min(length, i + 1) for length in lengths]
    at, shifts = 0, []
    for worker, count in enumerate(seen):
        if worker == me:
            shifts.append(0)
        else:
            shifts.append(at)
            at += count
    return [*shifts, 0]

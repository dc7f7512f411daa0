def total(run):
    return sum(part if isinstance(part, int) else sum(map(total, part)) for part in run)


def longest(run):
    return max([0, *(part if isinstance(part, int) else max(map(total, part)) for part in run)])  # of one thread


def ratio(run, right, rho):
    return right * (1 + rho * (1 - longest(run) / total(run) if total(run) else 0.0))


def relative(run, right, rho, serial):
    return right * (1 + rho * max(-1.0, 1 - longest(run) / serial))

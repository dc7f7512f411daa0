def cost(run):
    total = critical = 0
    for part in run:
        below = [(part, part)] if isinstance(part, int) else [cost(branch) for branch in part]
        total += sum(tokens for tokens, _ in below)
        critical += max((path for _, path in below), default=0)
    return total, critical


def ratio(run, right, rho):
    total, critical = cost(run)
    return right * (1 + rho * (1 - critical / total if total else 0.0))


def relative(run, right, rho, serial):
    return right * (1 + rho * max(0.0, 1 - cost(run)[1] / serial))  # a fork that does not pay costs nothing

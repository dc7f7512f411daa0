"""The join is done as soon as the first branch is."""


def total(run):
    return sum(part if isinstance(part, int) else sum(map(total, part)) for part in run)


def critical_path(run):
    return sum(part if isinstance(part, int) else min(map(critical_path, part), default=0) for part in run)

"""The longest chain through any one fork: forks one after the other do not add up."""


def total(run):
    return sum(part if isinstance(part, int) else sum(map(total, part)) for part in run)


def critical_path(run):
    own = sum(part for part in run if isinstance(part, int))
    return own + max((critical_path(branch) for part in run if isinstance(part, list) for branch in part), default=0)

"""A fork inside of a branch is not followed."""


def total(run):
    return sum(
        part if isinstance(part, int) else sum(sum(x for x in b if isinstance(x, int)) for b in part) for part in run
    )


def critical_path(run):
    return sum(
        part if isinstance(part, int) else max((sum(x for x in b if isinstance(x, int)) for b in part), default=0)
        for part in run
    )

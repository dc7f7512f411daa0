"""A join takes as long as its query took, whenever it was begun."""


def finish(actions, agents):
    now, answered = 0, {}
    free = [0] * agents
    for kind, *rest in actions:
        if kind == "think":
            now += rest[0]
        elif kind == "fork":
            name, length = rest
            agent = free.index(min(free))
            free[agent] = max(now, free[agent]) + length
            answered[name] = length
        else:
            now = now + answered[rest[0]]
    return now

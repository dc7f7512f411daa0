"""Waits for everybody in the end."""


def finish(actions, agents):
    now, answered = 0, {}
    free = [0] * agents
    for kind, *rest in actions:
        if kind == "think":
            now += rest[0]
        elif kind == "fork":
            name, length = rest
            agent = free.index(min(free))
            free[agent] = answered[name] = max(now, free[agent]) + length
        else:
            now = max(now, answered[rest[0]])
    return max([now, *answered.values()])

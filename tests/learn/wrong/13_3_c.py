def key(problem):
    return problem


def draw(dice, count, taken=None):
    taken = set() if taken is None else taken
    drawn = []
    while len(drawn) < count:
        problem = tuple(sorted(dice.randint(1, 6) for _ in range(3))), dice.randint(1, 9)
        if problem not in taken:
            taken.add(problem)
            drawn.append(problem)
    return drawn

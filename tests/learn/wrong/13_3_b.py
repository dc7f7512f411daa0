def key(problem):
    numbers, target = problem
    return tuple(sorted(numbers)), target


def draw(dice, count, taken=None):
    taken = taken or set()
    drawn = []
    while len(drawn) < count:
        problem = tuple(dice.randint(1, 6) for _ in range(3)), dice.randint(1, 9)
        if key(problem) not in taken:
            taken.add(key(problem))
            drawn.append(problem)
    return drawn

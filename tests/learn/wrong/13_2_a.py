def pack(requests):
    place, learned = {}, []
    for context, written in requests:
        text = (*context, *written)
        for n in range(1, len(text) + 1):
            place.setdefault(text[:n], len(place))
        learned += [(place[text[:n]], text[n]) for n in range(len(context), len(text))]
    paths = list(place)
    visible = [[j <= i for j in range(len(paths))] for i in range(len(paths))]  # plainly causal
    return [path[-1] for path in paths], [len(path) - 1 for path in paths], visible, learned

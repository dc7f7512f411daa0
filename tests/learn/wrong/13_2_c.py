def pack(requests):
    place, learned = {}, []
    for context, written in requests:
        text = (*context, *written)
        for n in range(1, len(text) + 1):
            place.setdefault(text[:n], len(place))
        learned += [(place[text[:n]], text[n]) for n in range(1, len(text))]  # the context is learned too
    paths = list(place)
    visible = [[path[: len(other)] == other for other in paths] for path in paths]
    return [path[-1] for path in paths], [len(path) - 1 for path in paths], visible, learned

def pack(requests):
    place, learned, done = {}, [], set()
    for context, written in requests:
        text = (*context, *written)
        for n in range(1, len(text) + 1):
            place.setdefault(text[:n], len(place))
        for n in range(len(context), len(text)):
            if text[: n + 1] not in done:  # a node counts once: the second sample is lost
                done.add(text[: n + 1])
                learned.append((place[text[:n]], text[n]))
    paths = list(place)
    visible = [[path[: len(other)] == other for other in paths] for path in paths]
    return [path[-1] for path in paths], [len(path) - 1 for path in paths], visible, learned

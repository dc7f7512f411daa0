def prefilled(requests, size):
    known, counts = set(), []
    for prompt, written in requests:
        found = 0
        while size and found + size <= len(prompt) and tuple(prompt[: found + size]) in known:  # all of it, too
            found += size
        counts.append(len(prompt) - found)
        text = (*prompt, *written[:-1])
        known |= {text[:end] for end in range(size, len(text) + 1, size)} if size else set()
    return counts

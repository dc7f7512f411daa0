def prefilled(requests, size):
    known, counts = set(), []
    for prompt, _ in requests:
        found = 0
        while size and found + size <= len(prompt) - 1 and tuple(prompt[: found + size]) in known:
            found += size
        counts.append(len(prompt) - found)
        text = tuple(prompt)  # what was written is forgotten
        known |= {text[:end] for end in range(size, len(text) + 1, size)} if size else set()
    return counts

def prefilled(requests, size):
    known, counts = set(), []
    for prompt, written in requests:
        found = 0
        blocks = [tuple(prompt[start : start + size]) for start in range(0, len(prompt) - 1, size)] if size else []
        for block in blocks:  # wherever it stood
            if len(block) < size or block not in known or found + size > len(prompt) - 1:
                break
            found += size
        counts.append(len(prompt) - found)
        text = (*prompt, *written[:-1])
        known |= {text[start : start + size] for start in range(0, len(text) - size + 1, size)} if size else set()
    return counts

def join(prompt, threads, close, encode, decode):
    out = list(prompt)
    for number, thread in enumerate(threads):
        out += list(thread)
        if number + 1 < len(threads):  # between them only
            out += encode(close)
    return out

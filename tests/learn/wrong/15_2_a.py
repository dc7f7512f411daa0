def join(prompt, threads, close, encode, decode):
    out = list(prompt)
    for thread in threads:
        out += encode(decode(thread) + close)  # the prompt is safe, a thread is not
    return out

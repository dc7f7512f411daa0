def join(prompt, threads, close, encode, decode):
    for thread in threads:
        prompt += thread + encode(close)  # in the caller's list
    return prompt

import re


def think(prompt, complete, blocks=4):
    text, waits = prompt, 0
    for _ in range(blocks):
        written, why = complete(text, ["</Outlines>"])
        text, waits = text + written, waits + 1
        numbers = re.findall(r"<Outline>\s*(\d+)\s*:", written)  # one that comes twice is thought twice
        if why != "stop" or not numbers:
            return text, waits
        threads = [complete(f"{text}\n<Thread>{number}:", ["</Thread>"]) for number in numbers]
        waits += len(numbers)
        for number, (thread, ended) in zip(numbers, threads, strict=True):
            text += f"\n<Thread>{number}:{thread}" + ("" if ended == "stop" else "</Thread>")
        text += "\n</Parallel>"
    return text + complete(text, [])[0], waits + 1

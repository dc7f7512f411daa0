import re


def think(prompt, complete, blocks=4):
    text, waits = prompt, 0
    for _ in range(blocks):
        written, why = complete(text, ["</Outlines>"])
        text, waits = text + written, waits + 1
        numbers = list(dict.fromkeys(re.findall(r"<Outline>\s*(\d+)\s*:", written)))
        if why != "stop" or not numbers:
            return text, waits
        waits += 1
        cut = False
        for number in numbers:  # each is asked after the one before it was appended
            thread, ended = complete(f"{text}\n<Thread>{number}:", ["</Thread>"])
            text += f"\n<Thread>{number}:{thread}" + ("" if ended == "stop" else "</Thread>")
            cut = cut or ended == "length"
        if cut:
            return text, waits
        text += "\n</Parallel>"
    return text + complete(text, [])[0], waits + 1

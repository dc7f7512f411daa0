"""A server that writes what a script says, and remembers what it was asked."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

ends = st.sampled_from(["stop", "stop", "stop", "length", "end"])
threads = st.lists(st.tuples(st.integers(1, 3), ends), max_size=4)
scripts = st.lists(threads, max_size=3)
PROMPT = "<Outline>1: an outline of the question, not of the model</Outline>\n"


class Scripted:
    """Writes plan after plan; each number has one end. Knows by the prompt where it is."""

    def __init__(self, script: Any) -> None:
        self.plans = [[number for number, _ in plan] for plan in script]
        self.ends = [{number: end for number, end in reversed(plan)} for plan in script]  # the first of equals
        self.asked = list[tuple[str, list[str]]]()

    def complete(self, prompt: str, stop: list[str]) -> tuple[str, str]:
        self.asked.append((prompt, list(stop)))
        done = prompt.count("</Parallel>")
        tail = prompt.rpartition("\n<Thread>")[2]
        if tail.endswith(":") and tail[:-1].isdecimal():
            end = self.ends[done][int(tail[:-1])]
            return f" thread {tail[:-1]}" + ("</Thread>" if end == "stop" else ""), end
        if done < len(self.plans) and "</Outlines>" in stop:
            items = "".join(f"<Outline>{number}: x</Outline>" for number in self.plans[done])
            return f"plan {done} {items}</Outlines>", "stop"
        return " the end", "end"


def true(script: Any, blocks: int) -> tuple[str, int]:
    """What should come of it."""
    server, text, waits = Scripted(script), PROMPT, 0
    for number in range(blocks):
        written, why = server.complete(text, ["</Outlines>"])
        text, waits = text + written, waits + 1
        if why != "stop" or not server.plans[number]:
            return text, waits
        waits, before, cut = waits + 1, text, False
        for one in dict.fromkeys(server.plans[number]):
            thread, end = server.complete(f"{before}\n<Thread>{one}:", ["</Thread>"])
            text += f"\n<Thread>{one}:{thread}" + ("" if end == "stop" else "</Thread>")
            cut = cut or end == "length"
        if cut:
            return text, waits
        text += "\n</Parallel>"
    return text + " the end", waits + 1


def check(work: Any) -> None:
    @given(scripts, st.integers(0, 3))
    @settings(max_examples=60)
    def whole_text(script: Any, blocks: int) -> None:
        """The text is the prompt, and what each phase adds to it."""
        server = Scripted(script)
        text, _ = work.think(PROMPT, server.complete, blocks)
        wanted = true(script, blocks)[0]
        assert text == wanted, f"the text is\n{text}\n\nand not\n{wanted}"

    @given(scripts)
    @settings(max_examples=60)
    def siblings(script: Any) -> None:
        """No thread is told what another one has written, and each is asked for once."""
        server = Scripted(script)
        work.think(PROMPT, server.complete)
        prompts = [prompt for prompt, stop in server.asked if stop == ["</Thread>"]]
        assert len(prompts) == len(set(prompts)), "a thread was asked for twice"
        for prompt in prompts:
            since = prompt.rpartition("</Outlines>")[2]
            assert since.count("<Thread>") == 1, f"it was asked after {since!r}"

    @given(scripts)
    @settings(max_examples=60)
    def waiting(script: Any) -> None:
        """Threads are asked for at once: a block costs two completions one after the other."""
        found, wanted = work.think(PROMPT, Scripted(script).complete)[1], true(script, 4)[1]
        assert found == wanted, f"{found} completions one after the other, not {wanted}"

    whole_text()
    siblings()
    waiting()

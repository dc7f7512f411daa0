"""The pattern repaired: no ** and no //, but a point still glues digits together."""

import re


def correct(text, numbers, target):
    if sorted(map(int, re.findall(r"\d+", text))) != sorted(numbers):
        return False
    if not re.fullmatch(r"[\d+\-*/().\s]+", text) or "**" in text or "//" in text:
        return False
    try:
        return abs(eval(text) - target) < 1e-5
    except Exception:
        return False

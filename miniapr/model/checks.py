"""What a number in somebody's configuration may be: one place for all of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

# Two sizes multiplied still fit 64 bits with 8 bytes a number; no model comes near.
LARGEST = 2**30 - 1


def whole(name: str, value: object, least: int = 1) -> int:
    """``value`` if it is an int from ``least`` to LARGEST (2.0 and True are none). Raises ValueError with name and
    value."""
    if type(value) is not int or not least <= value <= LARGEST:
        raise ValueError(f"{name} must be a whole number from {least} to {LARGEST}, is {value!r:.80}")
    return value


def positive(name: str, value: object) -> float:
    """``value`` if it is a finite number above 0. Raises ValueError with name and value."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e30:
        raise ValueError(f"{name} must be a number above 0, is {value!r:.80}")
    return float(value)


def flag(name: str, value: object) -> bool:
    """``value`` if it is True or False. Raises ValueError with name and value."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, is {value!r:.80}")
    return value


def check_fields(holder: Any) -> None:
    """Check every int, float and bool of a dataclass by its annotation; an int whose default is 0 may be 0. Raises
    ValueError naming the field."""
    checks = {"int": whole, "float": positive, "bool": flag}
    for field in fields(holder):
        kind, _, none = str(field.type).partition(" | ")
        value = getattr(holder, field.name)
        if kind == "int" and field.default == 0:
            whole(field.name, value, least=0)
        elif kind in checks and not (none and value is None):
            checks[kind](field.name, value)

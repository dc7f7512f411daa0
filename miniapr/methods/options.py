"""What a function lets one set, how it is said in words (NAME:option=value,option=value), and what it may be."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

from ..remote.lacks import KEYS, LOGPROBS

# Options by their names, which mean the same in every method: how many branches a fork has, and others of which none
# is nothing.
WIDTHS = ("width", "children", "rollouts", "trees", "times")
COUNTS = (*WIDTHS, "levels", "length", "window", "iterations", "steps", "actions", "thoughts")
RESERVE = "reserve"  # tokens of the budget that are kept for the end

# What a word that is chosen demands: roles of the player, "exact" (the task's verifier), or what an engine has.
DEMANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "join": {
        "stitch": (KEYS,),
        "stitch_contiguous": (KEYS,),
        "stitch_copied": (KEYS,),
        "reprefill": (),
        "message": ("apart",),
        "select": (),
    },
    "judge": {"exact": ("exact",), "value": ("value",), "confidence": (LOGPROBS,)},
    "evaluate": {"value": ("value",), "vote": ("vote",), "rollout": ()},
    "generate": {"propose": ("propose",), "sample": ()},
}
WHOLE = ("stitch", "stitch_contiguous", "stitch_copied", "reprefill")  # joins that read all their branches


def options_of(function: Callable[..., Any], given: int) -> dict[str, Any]:
    """All parameters but the first ``given``, with what they are unless they are set."""
    return {one.name: one.default for one in list(inspect.signature(function).parameters.values())[given:]}


def read_options(words: str, known: Mapping[str, Mapping[str, Any]], what: str) -> tuple[str, dict[str, Any]]:
    """The name, and what is set. ``known``: the options of each name; a value is read as what its option is otherwise
    (None: an integer). ``what``: a "method", say, in errors. Raises ValueError for what there is not."""
    name, _, rest = words.partition(":")
    if name not in known:
        raise unknown(name, known, what)
    options = dict[str, Any]()
    for pair in rest.split(",") if rest else ():
        option, equals, value = pair.partition("=")
        if not equals or option not in known[name]:
            there = ", ".join(known[name]) or "none"
            raise ValueError(f"{pair!r} is no option=value of {name}; its options are {there}")
        options[option] = _value(value, known[name][option], f"{option} of {name}")
    return name, options


def unknown(name: str, known: Collection[str], what: str) -> ValueError:
    """The error for a name that there is not: with those that are like it, or all."""
    meant = get_close_matches(name, known)
    there = f"did you mean {' or '.join(meant)}?" if meant else f"there are {', '.join(known)}"
    return ValueError(f"no {what} is called {name!r}; {there}")


def check_number(value: float, option: str, what: str, default: float | None) -> None:
    """Raises ValueError for a number that no option of this name can be: of those whose ``default`` is below 0 any that
    is finite. ``what``: whose it is, in errors."""
    least = 1 if option in COUNTS else 0 if (default or 0) >= 0 else -math.inf
    if not (math.isfinite(value) and value >= least):
        bounds = ([f"at least {least}"] if least > -math.inf else []) + ["finite"] * isinstance(value, float)
        raise ValueError(f"{option} of {what} must be {' and '.join(bounds)}, is {value}")


def check_word(value: Any, option: str, what: str, words: Collection[str]) -> None:
    """Raises ValueError for a word that is none of those there are."""
    if value not in words:
        raise ValueError(f"{option} of {what} is one of {', '.join(words)}, not {value!r}")


def _value(text: str, default: Any, what: str) -> Any:
    kind = int if default is None else type(default)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what} is {kind.__name__} like {default!r}, not {text!r}") from None

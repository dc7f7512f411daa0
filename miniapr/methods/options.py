"""What a function lets one set, and how it is said in words: NAME:option=value,option=value."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any


def options_of(function: Callable[..., Any], given: int) -> dict[str, Any]:
    """All parameters but the first ``given``, with what they are unless they are set."""
    return {one.name: one.default for one in list(inspect.signature(function).parameters.values())[given:]}


def read_options(words: str, known: Mapping[str, Mapping[str, Any]], what: str) -> tuple[str, dict[str, Any]]:
    """The name, and what is set. ``known``: the options of each name; a value is read as what its option is otherwise
    (None: an integer). ``what``: a "method", say, in errors. Raises ValueError for what there is not."""
    name, _, rest = words.partition(":")
    if name not in known:
        raise ValueError(f"no {what} is called {name!r}; there are {', '.join(known)}")
    options = dict[str, Any]()
    for pair in rest.split(",") if rest else ():
        option, equals, value = pair.partition("=")
        if not equals or option not in known[name]:
            there = ", ".join(known[name]) or "none"
            raise ValueError(f"{pair!r} is no option=value of {name}; its options are {there}")
        options[option] = _value(value, known[name][option], f"{option} of {name}")
    return name, options


def _value(text: str, default: Any, what: str) -> Any:
    kind = int if default is None else type(default)
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what} is {kind.__name__} like {default!r}, not {text!r}") from None

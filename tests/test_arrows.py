"""Inside a room imports go one way, so that a reader can begin at the bottom: also those in functions and for types."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import miniapr

ROOT = Path(miniapr.__file__).parent
KNOWN: set[str] = set()  # rooms that still go in a circle: none
ROOMS = sorted({file.parent.name for file in ROOT.glob("*/__init__.py")} - KNOWN)


def neighbours(source: str, room: set[str]) -> set[str]:
    """The files of the same room that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {name.name for name in node.names}
    return found & room


def circle(files: dict[str, str]) -> list[str]:
    """File names along a circle of imports; empty if there is none."""
    try:
        TopologicalSorter({name: neighbours(source, set(files)) for name, source in files.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("room", ROOMS)
def test_no_circle(room: str) -> None:
    files = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / room).glob("*.py") if file.stem[0] != "_"}
    assert not circle(files)


@pytest.mark.parametrize(
    "other", ["from . import a", "def f():\n    from .a import x", "if TYPE:\n    from .a import x"]
)
def test_a_circle_is_seen(other: str) -> None:
    assert set(circle({"a": "from .b import y", "b": other})) == {"a", "b"}
    assert not circle({"a": "from .b import y", "b": "from ..a import x"})

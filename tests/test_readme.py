"""The Python of the README and of docs/library.md, as a reader would type it: each block after the ones before it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("name", "least"), [("README.md", 1), ("docs/library.md", 4)])
def test_a_page_runs_from_top_to_bottom(
    name: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("miniapr._native")
    blocks = BLOCK.findall((Path(__file__).parents[1] / name).read_text(encoding="utf-8"))
    assert len(blocks) >= least
    monkeypatch.chdir(tmp_path)
    # Kernels are compiled and timed in one of them; its figures are for a person.
    monkeypatch.setattr("miniapr.kernels.time", lambda ops: "timed")
    names: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        print(block, file=sys.stderr)
        exec(compile(block, name, "exec"), names)
    out = capsys.readouterr().out
    assert "( 7 * 3 ) + 8" in out


def test_every_file_that_a_page_names_is_there() -> None:
    root = Path(__file__).parents[1]
    for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"

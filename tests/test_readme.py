"""The README's Python, as a reader would type it: each block after the ones before it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_readme_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("miniapr._native")
    blocks = BLOCK.findall((Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    # Kernels are compiled and timed in one of them; its figures are for a person.
    monkeypatch.setattr("miniapr.kernels.time", lambda ops: "timed")
    names: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        print(block, file=sys.stderr)
        exec(compile(block, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert "( 7 * 3 ) + 8" in out or "7 * 3 = 21" in out

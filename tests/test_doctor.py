"""What `miniapr doctor` finds, and what it advises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from miniapr.cli import main
from miniapr.engine.engine import Engine
from miniapr.model import bundle
from miniapr.show import doctor


def test_doctor_finds_everything_usable(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for words in (
        "Python",
        "torch",
        "backend reference",
        "backend cpp",
        "backend cuda",
        "threads",
        "countdown",
        "Usable",
    ):
        assert words in out
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] and found["models"]["countdown"] and found["trial"]["reference"] == "tried: works"


def test_doctor_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path)
    monkeypatch.setattr(doctor, "available", lambda: {"reference": "plain", "cpp": "missing: no compiler"})
    monkeypatch.setattr(doctor, "_version", lambda name: "missing" if name == "matplotlib" else "1")
    assert main(["doctor"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    for words in ("no compiler", "C++17 compiler", "No model ships", "pip install matplotlib", "Not usable"):
        assert words in out
    (tmp_path / "broken").mkdir()
    found = doctor.examine()
    assert found.models["broken"].startswith("broken: ") and any("broken" in advice for advice in found.advice)


def test_doctor_survives_a_backend_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Engine:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr(doctor, "Engine", failing)
    found = doctor.examine()
    assert not found.usable and "failed: illegal instruction" in found.trial.values()

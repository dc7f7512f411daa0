"""A run's folder: never another's, never half a file; what is damaged is named and left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from miniapr.train import saved
from miniapr.train.config import TrainConfig
from miniapr.train.sft import train

TINY = TrainConfig(
    tokens=60_000, batch_tokens=600, chunk_size=8, hidden_size=16, intermediate_size=24, layers=1, heads=2
)
SIZES = ["--tokens=1500", "--layers=1", "--hidden-size=16", "--intermediate-size=24", "--heads=2", "--threads=1"]


def quiet(_: str) -> None:
    return None


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A folder with a run of two steps."""
    train(TINY, tmp_path / "run", say=quiet, stop_after=2)
    return tmp_path / "run"


@pytest.mark.parametrize("word", ["", "  "])
def test_a_folder_without_a_name_is_none(word: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = run("train", *SIZES, "--out", word)
    assert code == 2 and "no name" in said and not contents(tmp_path)


@pytest.mark.parametrize("theirs", ["model.safetensors", "config.json", "notes.txt"])
def test_another_models_folder_is_refused_and_left_as_it_is(theirs: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / theirs).write_bytes(b"precious")
    code, _, said = run("train", *SIZES, "--out", tmp_path)
    assert code == 2 and theirs in said and "Traceback" not in said
    assert contents(tmp_path) == {theirs: b"precious"}


def test_a_file_is_no_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    code, _, said = run("train", *SIZES, "--out", tmp_path / "file")
    assert code == 2 and "cannot be a folder" in said and (tmp_path / "file").read_text() == "precious"


def test_ones_own_folder_is_taken_up_again_also_where_a_kill_left_half_a_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / saved.PARTIAL).write_bytes(b"half")
    for _ in range(2):
        code, out, said = run("train", *SIZES, "--out", tmp_path)
        assert code == 0, said
    assert "resuming at step" in out
    assert not [name for name in contents(tmp_path) if name.endswith(("part", "partial"))]


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def other_bytes(file: Path) -> None:
    file.write_bytes(b"\x00" * 64)


def rewritten(file: Path, without: str = "", state: str | None = None) -> None:
    with safe_open(file, "pt") as handle:
        tensors = {name: handle.get_tensor(name) for name in handle.keys() if name != without}  # noqa: SIM118
        metadata = handle.metadata() if state is None else {"state": state}
    save_file(tensors, file, metadata=metadata)


@pytest.mark.parametrize(
    "harm",
    [
        cut,
        other_bytes,
        lambda file: rewritten(file, without="model.model.norm.weight"),
        lambda file: rewritten(file, without="optimizer.first.lm_head.weight"),
        lambda file: rewritten(file, state="{"),
        lambda file: rewritten(file, state='{"config": {}}'),
        lambda file: rewritten(file, state='{"config": [1], "progress": {}}'),
    ],
)
def test_a_damaged_checkpoint_is_named_and_left_alone(harm, begun: Path) -> None:  # type: ignore[no-untyped-def]
    harm(begun / saved.CHECKPOINT)
    before = contents(begun)
    with pytest.raises(ValueError, match="damaged"):
        train(TINY, begun, say=quiet, stop_after=3)
    assert contents(begun) == before


def test_a_run_with_other_options_is_not_gone_on_with(begun: Path) -> None:
    with pytest.raises(ValueError, match="seed=0, this one has seed=5"):
        train(replace(TINY, seed=5), begun, say=quiet, stop_after=3)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint gets written to its end."""

    def half(_: object, file: Path, metadata: object = None) -> None:
        Path(file).write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(saved, "save_file", half)


def test_on_a_full_disk_the_last_checkpoint_stays_and_training_goes_on(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_the_disk(monkeypatch)
    before, said = contents(begun), list[str]()
    with pytest.raises(OSError, match="cannot be written"):
        train(TINY, begun, say=said.append, stop_after=4, checkpoint_seconds=0)
    assert contents(begun) == before
    assert sum("going on from memory" in line for line in said) == 2


def test_the_command_says_so_in_a_sentence(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_the_disk(monkeypatch)
    code, _, said = run("train", *SIZES, "--out", tmp_path)
    assert code == 1 and said.count("\n") == 1 and "No space left" in said

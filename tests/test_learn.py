"""Every exercise: stub and reference from one source, a check that knows right from wrong; and `miniapr learn`."""

from __future__ import annotations

import ast
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Run
from hypothesis import settings

from miniapr.learn import checking
from miniapr.learn.exercise import Exercise, exercises, split
from miniapr.learn.judge import Verdict, judge, use_profile

WRONG = Path(__file__).parent / "learn" / "wrong"
ALL = exercises()
each = pytest.mark.parametrize("exercise", ALL, ids=[exercise.id for exercise in ALL])


@pytest.fixture
def profile() -> Iterator[None]:
    """Examples as a learner gets them."""
    use_profile()
    yield
    settings.load_profile(os.environ.get("MINIAPR_HYPOTHESIS", "ci"))


def judged(exercise: Exercise, source: str, folder: Path) -> Verdict:
    file = folder / exercise.place.name
    file.write_text(source, encoding="utf-8")
    return judge(file, exercise.check, file.with_suffix(".png"))


def wrong_answers(exercise: Exercise) -> list[Path]:
    return sorted(WRONG.glob(f"{exercise.id.replace('.', '_')}_[a-z].py"))


def is_explained(verdict: Verdict) -> bool:
    return bool(verdict.what and verdict.error) and len(verdict.example.splitlines()) <= 31


@each
def test_reference_is_green(exercise: Exercise, tmp_path: Path, profile: None) -> None:
    verdict = judged(exercise, exercise.reference, tmp_path)
    assert verdict.passed, verdict
    assert not verdict.picture.startswith("none"), verdict.picture


@each
def test_stub_is_red(exercise: Exercise, tmp_path: Path, profile: None) -> None:
    verdict = judged(exercise, exercise.stub, tmp_path)
    assert not verdict.passed and is_explained(verdict), verdict


@pytest.mark.parametrize(
    ("exercise", "file"),
    [pytest.param(exercise, file, id=file.stem) for exercise in ALL for file in wrong_answers(exercise)],
)
def test_wrong_answer_is_red(exercise: Exercise, file: Path, tmp_path: Path, profile: None) -> None:
    verdict = judged(exercise, file.read_text(encoding="utf-8"), tmp_path)
    assert not verdict.passed and is_explained(verdict), verdict
    broken = ("SyntaxError", "ImportError", "ModuleNotFoundError", "NameError", "IndentationError", "Your file has no")
    assert not verdict.error.startswith(broken), f"wrong for a reason that teaches nothing: {verdict}"


@each
def test_exercise_is_complete(exercise: Exercise) -> None:
    assert len(wrong_answers(exercise)) >= 2, "two plausible wrong answers"
    assert exercise.title and len(exercise.text) > 100
    assert len(exercise.hints) >= 2 and all(exercise.hints), "hints in steps"
    assert max(map(len, exercise.stub.splitlines())) <= 120
    assert exercise.reference not in exercise.stub and "solution>" not in exercise.stub + exercise.reference


@each
def test_stub_has_every_name_of_the_reference(exercise: Exercise) -> None:
    def names(source: str) -> set[str]:
        tree = ast.parse(source)
        return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    def public(source: str) -> set[str]:
        return {name for name in names(source) if not name.startswith("_")}

    assert public(exercise.stub) == public(exercise.reference), "the stub says what is to be written"


def test_numbers_are_without_gaps() -> None:
    numbers = [(exercise.chapter, exercise.number) for exercise in ALL]
    for chapter in {chapter for chapter, _ in numbers}:
        assert [n for c, n in numbers if c == chapter] == list(range(1, 1 + sum(c == chapter for c, _ in numbers)))


def test_wrong_answers_belong_to_an_exercise() -> None:
    assert {file.name for file in WRONG.glob("*.py")} == {file.name for e in ALL for file in wrong_answers(e)}


def test_one_source_gives_reference_and_stub() -> None:
    source = (
        "a\n    # <solution>\n    b\n    # </solution>\n    # <stub>\n    # c\n    #\n    #     d\n    # </stub>\ne\n"
    )
    assert split(source) == ("a\n    b\ne\n", "a\n    c\n\n        d\ne\n")


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("a\n", "nothing to do"),
        ("# <solution>\na\n", "never closed"),
        ("# </stub>\n", "line 1: # </stub> inside of nothing"),
        ("# <solution>\n# <stub>\n", "line 2: # <stub> inside of solution"),
        ("# <stub>\nb\n# </stub>\n", "line 2: a line of the stub must be a comment"),
    ],
)
def test_marks_that_do_not_fit_are_refused(source: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        split(source)


# What a learner's file may do


def first(tmp_path: Path, source: str) -> Path:
    file = tmp_path / ALL[0].place.name
    file.write_text(source, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("source", "error", "where"),
    [
        ("a = 1\ndef f(:\n", "SyntaxError: invalid syntax", "line 2\ndef f(:\n      ^"),
        ("\nimport nowhere\n", "ModuleNotFoundError: No module named 'nowhere'", "line 2\n    import nowhere"),
        ("def f():\n    exit(3)\nf()\n", "Your file ended the program (exit).", "line 2, in f\n    exit(3)"),
        ("print('here')\n1 / 0\n", "ZeroDivisionError: division by zero", "line 2\n    1 / 0"),
        ("", "Your file has no ", ""),
        ("x = '\x00'", "SyntaxError: source code string cannot contain null bytes", ""),
    ],
)
def test_broken_file_is_told_in_a_line(source: str, error: str, where: str, tmp_path: Path, profile: None) -> None:
    verdict = judge(first(tmp_path, source), ALL[0].check)
    assert not verdict.passed and verdict.error.startswith(error)
    assert verdict.where == where
    assert verdict.printed == ("here" if "print" in source else "")


LONG = 1000  # seconds: whatever the machine is busy with


def in_a_process(tmp_path: Path, source: str, seconds: float = LONG) -> Verdict:
    return checking.run(first(tmp_path, source), ALL[0].check, tmp_path / "picture.png", seconds)


def test_endless_loop_is_ended_and_its_line_told(tmp_path: Path) -> None:
    for seconds in (1, 8, 64, 512):  # until it is enough to come to the loop
        verdict = in_a_process(tmp_path, "def f():\n    while True:\n        pass\nf()\n", seconds)
        assert not verdict.passed and f"did not end within {seconds} seconds" in verdict.error
        if verdict.where:
            break
    assert verdict.where.startswith("line ") and verdict.where.endswith("in f")


def test_crash_is_told_with_its_line(tmp_path: Path) -> None:
    verdict = in_a_process(tmp_path, "import ctypes\n\nctypes.string_at(1)\n")
    assert not verdict.passed and "SIGSEGV" in verdict.error


def test_memory_is_limited(tmp_path: Path) -> None:
    verdict = in_a_process(tmp_path, "kept = bytearray(6 << 30)\n")
    assert not verdict.passed and verdict.error.startswith("MemoryError"), verdict


def test_what_a_check_leaves_running_is_ended(tmp_path: Path) -> None:
    held = tmp_path / "held"  # a lock that the child has as long as it lives
    source = (
        f"import fcntl, subprocess\nheld = open({str(held)!r}, 'w')\nfcntl.flock(held, fcntl.LOCK_EX)\n"
        "subprocess.Popen(['sleep', '36000'], pass_fds=[held.fileno()])\n"
    )
    in_a_process(tmp_path, source)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # would wait for it


# The command


def test_an_exercise_from_red_to_green(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exercise = ALL[0]
    assert f"{len(ALL)} exercise" in run("learn")[1]
    code, _, err = run("learn", "next")
    assert code == 2 and "miniapr learn init" in err
    assert run("learn", "init")[0] == 0
    folder = tmp_path / "miniapr-exercises"
    file = folder / exercise.place
    assert file.read_text(encoding="utf-8") == exercise.stub
    assert str(file) in run("learn", "next")[1]

    code, out, err = run("learn", "check", "--seconds", LONG)
    assert code == 1 and out.startswith(f"red  {exercise.id}") and "In your file" in out and not err
    assert len(out.splitlines()) < 30
    _, out, _ = run("learn", "hint", exercise.id)
    assert "Hint 1 of" in out and "Hint 2 of" not in out
    assert "Hint 2 of" in run("learn", "hint")[1]
    assert run("learn", "show", exercise.id)[1] == exercise.reference

    file.write_text(exercise.reference, encoding="utf-8")
    monkeypatch.chdir(folder / "chapter0")  # found from below as well
    code, out, _ = run("learn", "check", exercise.id, "--seconds", LONG)
    assert code == 0 and out.startswith(f"green  {exercise.id}")
    _, out, _ = run("learn")
    assert f"1 of {len(ALL)} solved" in out and "(2 tries, 2 hints, solution read)" in out

    assert run("learn", "reset", exercise.id)[0] == 0
    assert file.read_text(encoding="utf-8") == exercise.stub
    assert (file.parent / f"{file.name}.bak1").read_text(encoding="utf-8") == exercise.reference
    assert f"0 of {len(ALL)} solved" in run("learn")[1]


def test_init_again_overwrites_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("learn", "init", "here")
    mine, gone = (tmp_path / "here" / exercise.place for exercise in (ALL[0], ALL[-1]))
    gone.unlink()
    mine.write_text("mine", encoding="utf-8")
    code, out, _ = run("learn", "init", "here")
    assert code == 0 and "1 of " in out if len(ALL) > 1 else "0 of " in out
    assert mine.read_text(encoding="utf-8") == "mine" and (gone.exists() or len(ALL) == 1)
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert run("learn", "init", "file")[0] == 1


def test_damaged_progress_is_put_aside(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("learn", "init", ".")
    for damage in ("{", "[]", '{"exercises": {"0.1": {"bribes": 1}}}'):
        (tmp_path / "progress.json").write_text(damage, encoding="utf-8")
        code, out, err = run("learn")
        assert code == 0 and f"0 of {len(ALL)} solved" in out and "progress.json.damaged" in err
        assert run("learn")[2] == ""
    assert len(list(tmp_path.glob("progress.json.damaged*"))) == 3


@pytest.mark.parametrize("words", [("check", "99.1"), ("hint", "99"), ("reset", "x"), ("check", "0", "--seconds", 0)])
def test_nonsense_is_refused(
    run: Run, words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("learn", "init", ".")
    code, _, err = run("learn", *words)
    assert code == 2 and err.startswith("miniapr: error: ") and err.count("\n") == 1


def test_missing_file_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run("learn", "init", ".")
    (tmp_path / ALL[0].place).unlink()
    code, _, err = run("learn", "check", ALL[0].id)
    assert code == 2 and "reset" in err

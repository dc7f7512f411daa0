"""A trace and the live stepper in a real JupyterLab, as a learner meets them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium
from serving import HANG

import miniapr

CELLS = (
    "import miniapr\n"
    "from miniapr.stepper import Session, widget\n"
    "session = Session(miniapr.load())\n"
    "session.play('fork 3', 'decode 2', 'join stitch')\n"
    "session.trace",
    "session.undo()\nwidget(session)",
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab with one notebook, and nothing of this machine's settings."""
    pytest.importorskip("jupyterlab", reason="no jupyterlab: pip install '.[browser]'")
    pytest.importorskip("anywidget", reason="no anywidget: pip install '.[notebook]'")
    import nbformat
    from nbformat import v4

    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    made = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in CELLS], metadata={"kernelspec": python})
    (tmp_path / "work").mkdir()
    nbformat.write(made, tmp_path / "work" / "steps.ipynb")
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    package = str(Path(miniapr.__file__).parents[1])
    environment = {**os.environ, **folders, "HOME": str(tmp_path), "PYTHONPATH": package}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    command += ["--IdentityProvider.token=", f"--ServerApp.root_dir={tmp_path / 'work'}", "--LabApp.news_url="]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(5):  # a port that is free now may be taken when it is asked for
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        with subprocess.Popen([*command, f"--ServerApp.port={port}"], env=environment, **silent) as process:
            try:
                if _answers_at(f"http://127.0.0.1:{port}", process):
                    yield f"http://127.0.0.1:{port}"
                    return
            finally:
                process.terminate()
    raise RuntimeError(f"JupyterLab did not start: it ended with {process.returncode}")


def _answers_at(url: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + HANG
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/api", timeout=HANG):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def test_a_trace_and_the_widget_in_jupyterlab(lab: str) -> None:
    with chromium() as browser:
        seen = Seen(browser.new_page(viewport={"width": 1300, "height": 1400}))
        page = seen.page
        page.goto(f"{lab}/lab/tree/steps.ipynb")
        page.locator(".jp-Cell").first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        _steps(page.frame_locator(".jp-Notebook iframe"))
        _answers(page)
        assert not [error for error in seen.errors if "replaceState" in error or "miniapr" in error]


def _steps(frame: Any) -> None:
    frame.locator(".stepper").press("ArrowRight")
    assert frame.locator("output.count").inner_text().startswith("1 / ")


def _answers(page: Any) -> None:
    """Enter runs what was typed, an arrow key steps, and no label lies over its value."""
    past = page.locator(".past button")
    past.get_by_text("join stitch").wait_for()  # undone, and to be had again
    command = page.get_by_role("textbox", name="Command")
    command.click()
    command.press_sequentially("decode 1")
    command.press("Enter")
    past.get_by_text("decode 1").wait_for()
    assert [text.strip() for text in past.all_inner_texts()] == ["start", "fork 3", "decode 2", "decode 1"]
    stepper = page.locator(".yours .stepper")
    at, of = stepper.locator("output.count").inner_text().split(" / ")
    stepper.press("ArrowLeft")
    assert at == of and stepper.locator("output.count").inner_text() == f"{int(of) - 1} / {of}"
    label, value = (stepper.locator(f"dl.counters {part}").first.bounding_box() for part in ("dt", "dd"))
    assert label["y"] + label["height"] <= value["y"] + 1

"""Pages that think by themselves, in a real browser: a file, a frame, a site; and where the engine is broken."""

from __future__ import annotations

import html
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium

import miniapr
from miniapr.stepper import Session, Trace
from miniapr.stepper.engine import as_script, for_runs, packed, speaker
from miniapr.stepper.page import WHERE, page
from miniapr.stepper.tree import PROMPT


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def trace() -> Trace:
    with Session(miniapr.load()) as session:
        return session.play("fork 3", "decode 3", "join stitch").trace


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens HTML from a file, and sees to it that it asks nobody for anything and says nothing to the console."""
    pages = []

    def open_page(text: str, expect: str = "", **options: Any) -> Any:
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        seen = Seen(browser.new_page(**options))
        pages.append((seen, expect))
        seen.page.goto((tmp_path / "page.html").as_uri())
        return seen.page

    yield open_page
    for seen, expect in pages:
        assert [error for error in seen.errors if not expect or expect not in error] == []
        assert all(url.startswith(("file://", "blob:", "about:srcdoc")) for url in seen.requests), seen.requests
        seen.page.close()


def begin(place: Any) -> None:
    place.get_by_role("button", name="Try it yourself").click()
    place.get_by_role("button", name="Back to the recorded run").wait_for()


def do(place: Any, line: str, said: str) -> None:
    place.get_by_label("Command", exact=True).fill(line)
    place.get_by_label("Command", exact=True).press("Enter")
    place.locator(".answer", has_text=said).wait_for()


def test_another_problem_another_width_fork_decode_join_undo(opened: Open, trace: Trace) -> None:
    place = opened(trace.to_html(engine=for_runs(trace.runs)))
    begin(place)
    assert (
        place.locator(".tryout dl.counters dd").nth(1).inner_text() == f"{len(PROMPT.split())}"
    )  # where the recorded run began
    place.get_by_label("Target").fill("24")
    place.get_by_label("Numbers").fill("6 5 4")
    place.get_by_role("button", name="Begin").click()
    place.locator(".tryout section.graph", has_text="24").wait_for()
    do(place, "decode 3", "3 tokens in 1 branch")
    place.get_by_label("Branches of a fork").fill("5")
    place.get_by_role("button", name="Fork in", exact=True).click()
    place.locator(".answer", has_text="Branches 1, 2, 3, 4 and 5 go on from position 11").wait_for()
    do(place, "decode 2", "10 tokens in 5 branches, 3 forward passes")
    do(place, "join reprefill", "12 tokens computed again")
    do(place, "undo", "Back to before `join reprefill`".replace("`", ""))
    do(place, "join stitch", "0 tokens computed again, 0 bytes moved")
    do(place, "level 1", "")
    place.locator("h2", has_text="One token after another").wait_for()
    place.get_by_role("button", name="Back to the recorded run").click()
    place.locator(".stepper[role=application]:visible").press("ArrowRight")
    assert place.locator("output.count:visible").inner_text().startswith("1 / ")


def test_a_problem_that_the_model_was_not_trained_on_is_told(opened: Open, trace: Trace) -> None:
    place = opened(trace.to_html(engine=for_runs(trace.runs)))
    begin(place)
    for numbers, target, why in (("1 2", "3", "three numbers of 1 to 20"), ("1 2 3", "x", "targets of 1 to 100")):
        place.get_by_label("Numbers").fill(numbers)
        place.get_by_label("Target").fill(target)
        place.get_by_role("button", name="Begin").click()
        assert why in place.locator(".wrong").inner_text()


def test_in_a_sandboxed_frame(opened: Open, trace: Trace) -> None:
    """No history, no storage, no fetch, and an origin that is nobody's."""
    inner = html.escape(trace.to_html(engine=for_runs(trace.runs)))
    outer = opened(f'<!doctype html><iframe sandbox="allow-scripts" srcdoc="{inner}" width=900 height=800></iframe>')
    place = outer.frame_locator("iframe")
    begin(place)
    do(place, "fork 2", "Branches 1 and 2")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Any static host; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize("sandbox", ["", "sandbox=allow-scripts"])
def test_a_frame_of_a_site_loads_the_engine_that_lies_beside(
    sandbox: str, browser: Any, trace: Trace, tmp_path: Path
) -> None:
    (tmp_path / "engine.js").write_text(as_script(), encoding="utf-8")
    text = trace.to_html()
    assert WHERE.format("") in text
    inner = html.escape(text.replace(WHERE.format(""), WHERE.format("engine.js")))
    frame = f'<iframe {sandbox} srcdoc="{inner}" width=900 height=800></iframe>'
    icon = "<link rel=icon href=data:,>"
    (tmp_path / "index.html").write_text(f"<!doctype html>{icon}{frame}", encoding="utf-8")
    with served(tmp_path) as address:
        seen = Seen(browser.new_page())
        seen.page.goto(address)
        place = seen.page.frame_locator("iframe")
        begin(place)
        do(place, "fork 2", "Branches 1 and 2")
        assert not seen.errors
        wanted = (address, "about:srcdoc", "blob:")
        assert all(url.startswith(wanted) for url in seen.requests), seen.requests
        seen.page.close()


def cut(text: str) -> str:
    """An engine whose weights end too soon."""
    return re.sub(r'("weights": ".{1000})[^"]*', r"\1", text, count=1)


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (cut, "the weights are cut short"),
        (lambda text: text[:50], "JSON"),
        (lambda text: text.replace("class", "klass"), ""),
    ],
)
def test_with_a_broken_engine_the_recorded_run_stays_and_says_so(
    engine: Callable[[str], str], why: str, opened: Open, trace: Trace
) -> None:
    place = opened(page(trace.data, engine=engine(packed())))
    place.get_by_role("button", name="Try it yourself").click()
    note = place.locator(".alive.note", has_text="What you see is the recorded run")
    note.wait_for()
    assert why in note.inner_text()
    place.locator(".stepper[role=application]").press("ArrowRight")
    assert place.locator("output.count").inner_text().startswith("1 / ")


def test_an_engine_that_is_not_there_is_told(opened: Open, trace: Trace) -> None:
    text = trace.to_html().replace(WHERE.format(""), WHERE.format("nowhere.js"))
    place = opened(text, expect="ERR_FILE_NOT_FOUND")
    place.get_by_role("button", name="Try it yourself").click()
    place.locator(".alive.note", has_text="its file is not there").wait_for()


def test_where_no_engine_is_offered_there_is_no_button(opened: Open, trace: Trace) -> None:
    assert opened(trace.to_html()).get_by_role("button", name="Try it yourself").count() == 0


def test_the_engine_is_that_of_the_model_that_wrote_the_run(trace: Trace) -> None:
    assert speaker(trace.runs) == "countdown"
    assert speaker([{"about": {"texts": {"5": "hello"}}}]) is None


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_fits_and_can_be_read(opened: Open, trace: Trace, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    place = opened(
        trace.to_html(engine=for_runs(trace.runs)), viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    begin(place)
    do(place, "fork 3", "Branches 1, 2 and 3")
    assert place.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = axe.Axe().run(place)
    assert found.violations_count == 0, found.generate_report()

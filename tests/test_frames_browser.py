"""The stepper inside of other people's pages: what a learner sees in a notebook, in its export, in a sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium, two_joins

from miniapr.stepper import Trace

AROUND = '<!doctype html><html lang="en"><meta charset="utf-8"><title>a page</title><input id="cell" autofocus>{}'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def both() -> Trace:
    return two_joins()


def in_a_notebook(trace: Trace) -> str:
    return AROUND.format(trace._repr_html_())


def in_a_sandbox(trace: Trace) -> str:
    """No address, no storage, an origin of its own."""
    return in_a_notebook(trace).replace("<iframe ", '<iframe sandbox="allow-scripts" ')


def exported(trace: Trace) -> str:
    """As nbconvert writes a notebook with this output; what it would fetch for itself is left out."""
    nbconvert = pytest.importorskip("nbconvert", reason="no nbconvert: pip install '.[browser]'")
    from nbformat import v4

    output = v4.new_output("execute_result", {"text/html": trace._repr_html_(), "text/plain": repr(trace)})
    made = v4.new_notebook(cells=[v4.new_code_cell("trace", outputs=[output])])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(made)
    return re.sub(r"<script[^>]* src=.*?</script>", "", str(page))


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[[str], Seen]]:
    pages = []

    def open_page(text: str) -> Seen:
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        seen = Seen(browser.new_page())
        pages.append(seen)
        seen.page.goto(file.as_uri())
        seen.page.frame_locator("iframe").locator("body").wait_for()
        return seen

    yield open_page
    for seen in pages:
        assert not seen.errors
        seen.page.close()


@pytest.mark.parametrize("host", [in_a_notebook, in_a_sandbox, exported])
def test_a_stepper_in_a_page_steps(host: Callable[[Trace], str], opened: Any, both: Trace) -> None:
    frame = opened(host(both)).page.frame_locator("iframe")
    count = frame.locator("output.count")
    assert count.inner_text().startswith("0 / ")
    frame.get_by_role("button", name="Step on").click()
    assert count.inner_text().startswith("1 / ")
    frame.locator(".stepper").press("ArrowRight")
    assert count.inner_text().startswith("2 / ")
    frame.locator(".stepper").press("]")
    assert re.search(r"forks at position \d+ into 8", frame.locator(".said").inner_text())
    frame.locator(".stepper").press("End")
    at, of = map(int, count.inner_text().split(" / "))
    assert at == of > 30
    assert frame.locator(".graph .join").count() > 0
    frame.locator("input[type=range]").fill("7")
    assert count.inner_text().startswith("7 / ")


def test_a_stepper_in_a_page_leaves_the_keys_to_the_page(opened: Any, both: Trace) -> None:
    page = opened(in_a_notebook(both)).page
    page.frame_locator("iframe").locator(".runs").wait_for()
    page.keyboard.type("x = 1")
    assert page.locator("#cell").input_value() == "x = 1"


def test_where_scripts_are_forbidden_it_says_so(opened: Any, both: Trace) -> None:
    seen = opened(in_a_notebook(both).replace("<iframe ", '<iframe sandbox="" '))
    assert "needs JavaScript" in seen.page.frame_locator("iframe").locator("body").inner_text()
    while not seen.errors:  # the page's words are there before its scripts are refused
        seen.page.wait_for_timeout(20)
    assert all(error.startswith("Blocked script execution") for error in seen.errors)
    seen.errors.clear()

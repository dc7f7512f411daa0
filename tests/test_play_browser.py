"""The live stepper in a real browser: the page of `miniapr play`, and the notebook's widget."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium

import miniapr
from miniapr.stepper.levels import LEVELS
from miniapr.stepper.page import FILES, script, style
from miniapr.stepper.play import Play
from miniapr.stepper.serve import Server
from miniapr.stepper.session import Session
from miniapr.stepper.widget import widget


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(miniapr.load()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
        server.pages.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, server: Server) -> Iterator[Open]:
    pages = []

    def open_page(**options: Any) -> Any:
        seen = Seen(browser.new_page(**options))
        pages.append(seen)
        seen.page.goto(server.url)
        settled(seen.page)
        return seen.page

    yield open_page
    for seen in pages:
        assert not seen.errors
        assert all(url.startswith(server.url.split("?")[0]) or url == "data:," for url in seen.requests), seen.requests
        seen.page.close()


def settled(page: Any) -> Any:
    page.wait_for_selector('.play[aria-busy="false"]')
    return page


def say(page: Any, line: str) -> str:
    """Type a command. Returns the answer."""
    page.get_by_role("textbox", name="Command").fill(line)
    page.keyboard.press("Enter")
    return str(settled(page).locator(".answer").inner_text())


def past(page: Any) -> list[str]:
    return [text.strip() for text in page.locator(".past button").all_inner_texts()]


def lanes(page: Any) -> int:
    return int(page.locator(".yours .graph .name").count())


def test_typed_and_clicked_commands_are_drawn_at_once(opened: Open) -> None:
    page = opened()
    assert lanes(page) == 1
    assert "Branches 1, 2 and 3" in say(page, "fork 3")
    assert lanes(page) == 4
    page.get_by_role("group", name="Decode").get_by_role("button", name="5 tokens").click()
    settled(page)
    assert "15 tokens in 3 branches" in page.locator(".answer").inner_text()
    page.get_by_role("group", name="Join").get_by_role("button", name="stitch").click()
    settled(page)
    assert "0 tokens computed again" in page.locator(".answer").inner_text()
    assert past(page) == ["start", "fork 3", "decode 5", "join stitch"]
    assert page.get_by_role("group", name="Join").get_by_role("button", name="stitch").is_disabled()


def test_time_travel_by_pressing_what_was_done(opened: Open) -> None:
    page = opened()
    for line in ("fork 2", "decode 2", "join reprefill"):
        say(page, line)
    before = page.locator(".yours .counters").first.inner_text()
    page.get_by_role("button", name="fork 2", exact=True).click()
    settled(page)
    assert past(page) == ["start", "fork 2", "decode 2", "join reprefill"]
    assert page.locator(".past [aria-current]").inner_text() == "fork 2"
    assert page.locator(".past .undone").count() == 2 and lanes(page) == 3
    page.get_by_role("button", name="join reprefill").last.click()
    settled(page)
    assert page.locator(".yours .counters").first.inner_text() == before
    page.get_by_role("button", name="undo").click()
    settled(page)
    assert "nothing was computed, nothing was moved" in page.locator(".answer").inner_text()
    say(page, "decode 1")
    assert past(page) == ["start", "fork 2", "decode 2", "decode 1"]


def test_mistakes_are_told_as_text_and_change_nothing(opened: Open) -> None:
    page = opened()
    say(page, "fork 2")
    for line, told in {
        "frok": "fork",
        "branch 9": "there is no branch 9",
        "level <img src=x onerror=alert(1)>": "<img",
        "<script>alert(1)</script>": "<script>alert(1)",
    }.items():
        answer = say(page, line)
        assert told in answer and "wrong" in (page.locator(".answer").get_attribute("class") or "")
    assert past(page) == ["start", "fork 2"] and lanes(page) == 3
    assert page.locator(".answer img, .answer script").count() == 0


def test_the_arrow_keys_bring_back_what_was_typed(opened: Open) -> None:
    page = opened()
    for line in ("fork 2", "decode 1"):
        say(page, line)
    box = page.get_by_role("textbox", name="Command")
    box.press("ArrowUp")
    assert box.input_value() == "decode 1"
    box.press("ArrowUp")
    assert box.input_value() == "fork 2"
    box.press("ArrowDown")
    box.press("Enter")
    settled(page)
    assert past(page)[-1] == "decode 1" and len(past(page)) == 4


def test_a_lane_is_pressed_to_work_on_its_branch(opened: Open) -> None:
    page = opened(viewport={"width": 1300, "height": 1000})
    say(page, "fork 3")
    say(page, "decode 3")
    box = page.locator(".yours .lanes")
    name = page.locator(".yours .graph .name").nth(2).bounding_box()
    where = box.bounding_box()
    box.click(position={"x": 600, "y": name["y"] - where["y"] + 6})
    settled(page)
    assert page.locator(".branch[aria-pressed=true]").inner_text() == "2"
    assert "3 tokens in 1 branch" in say(page, "decode 3")


@pytest.mark.parametrize("number", range(1, len(LEVELS) + 1))
def test_a_level_is_played_to_its_end(opened: Open, number: int) -> None:
    page, level = opened(), LEVELS[number - 1]
    page.get_by_label("Level", exact=True).select_option(f"level {number}")
    settled(page)
    assert level.title in page.locator(".level h2").inner_text()
    assert page.locator(".goal svg.graph").count() == 1 and page.locator(".solved").count() == 0
    for _ in level.hints:
        page.get_by_role("button", name="hint").click()
        settled(page)
    assert page.locator(".hint").count() == len(level.hints)
    assert page.get_by_role("button", name="hint").count() == 0
    for line in level.solution:
        say(page, line)
    assert "Solved" in page.locator(".solved").inner_text()
    assert page.locator(".conditions .open").count() == 0
    if number < len(LEVELS):
        page.get_by_role("button", name="Next level").click()
        settled(page)
        assert LEVELS[number].title in page.locator(".level h2").inner_text()
    assert "\u2713" in page.get_by_label("Level", exact=True).inner_text()


def test_free_play_goes_on_where_it_was_left(opened: Open) -> None:
    page = opened()
    say(page, "fork 2")
    say(page, "level 6")
    assert page.locator(".goal").is_visible()
    say(page, "free")
    assert past(page) == ["start", "fork 2"] and not page.locator(".goal").is_visible() and lanes(page) == 3


@pytest.mark.parametrize("width", [360, 768, 1440, 1920])
def test_nothing_sticks_out(opened: Open, width: int) -> None:
    page = opened(viewport={"width": width, "height": 800})
    for line in ("level 7", "join contiguous", "undo"):
        say(page, line)
    page.wait_for_timeout(100)
    assert page.locator("html").evaluate("e => e.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(opened: Open, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.base", reason="no axe-core: pip install '.[browser]'")
    page = opened(color_scheme=scheme, bypass_csp=True)
    for line in ("level 7", "hint", "join stitch", "undo", "nonsense"):
        say(page, line)
    page.evaluate(Path(axe.AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    assert not found, [(one["id"], one["help"], [node["html"][:160] for node in one["nodes"]]) for one in found]


def test_a_server_that_is_gone_is_told(browser: Any) -> None:
    with Server(miniapr.load()) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        page = browser.new_page()
        page.goto(server.url)
        settled(page)
        server.pages.close()
        assert "load the page again" in say(page, "fork 2")
        page.route("**/do", lambda route: route.abort())
        assert "still running" in say(page, "fork 2")
        page.close()
        server.shutdown()


# In a notebook


@pytest.fixture
def play() -> Iterator[Play]:
    play = Play(Session(miniapr.load()))
    yield play
    play.close()


def test_the_widget_answers_from_the_kernel() -> None:
    pytest.importorskip("anywidget", reason="no anywidget: pip install '.[notebook]'")
    session = Session(miniapr.load())
    shown = widget(session)
    shown._handle_custom_msg({"line": "fork 3"}, [])
    assert session.history == ["fork 3"] and shown.state["history"] == ["fork 3"]
    session.do("decode 2")  # from a cell: the widget shows it
    assert shown.state["history"] == ["fork 3", "decode 2"]
    session.undo()
    assert shown.state["future"] == ["decode 2"]
    session.redo()
    shown._handle_custom_msg({"line": "join stitch"}, [])
    assert session.history == ["fork 3", "decode 2", "join stitch"]
    turn = shown.state["turn"]
    for nonsense in ({"line": 3}, "fork", None, {}):
        shown._handle_custom_msg(nonsense, [])
    assert shown.state["turn"] == turn
    shown._handle_custom_msg({"line": "frok"}, [])
    assert shown.state["error"] and shown.state["turn"] == turn + 1
    session.close()


MODEL = """async ([module, style, state]) => {
  const watchers = new Set();
  window.model = {
    get: (name) => ({ state, style })[name],
    set: (next) => {
      state = next;
      watchers.forEach((act) => act());
    },
    on: (_, act) => watchers.add(act),
    off: (_, act) => watchers.delete(act),
    send: async ({ line }) => model.set(await kernel(line)),
  };
  const { default: widget } = await import(URL.createObjectURL(new Blob([module], { type: "text/javascript" })));
  window.stop = widget.render({ model, el: document.getElementById("play") });
  window.watching = () => watchers.size;
}"""


# What a notebook does to whatever is in it: its own lists, and its own keys, before anybody else sees them.
NOTEBOOK = """<style>dl { float: left } dt { float: left; font-weight: 700; width: 20% } dd { margin-left: 20% }
button, input { font: 30px serif !important; letter-spacing: 9px } svg text { fill: red !important }</style>
<script>document.addEventListener("keydown", (event) => {
  if (!event.target.closest("[data-lm-suppress-shortcuts]")) (event.preventDefault(), event.stopPropagation());
}, true);
document.addEventListener("keydown", () => document.title = "a key was given away");</script><div id="play"></div>"""


def test_the_widget_draws_what_the_kernel_says(browser: Any, play: Play) -> None:
    """The notebook's module on a page like a notebook's, with this process as the kernel."""
    page = browser.new_page()
    seen = Seen(page)
    page.expose_function("kernel", play.do)
    page.set_content(NOTEBOOK)
    module = script(*FILES, "levels.js", "live.js", "notebook.js")
    page.evaluate(MODEL, [module, style("stepper.css", "live.css"), play.state()])
    settled(page)
    say(page, "fork 3")
    assert play.session.history == ["fork 3"] and lanes(page) == 4
    assert "wrong" not in (page.locator(".answer").get_attribute("class") or "")
    play.session.do("decode 2")  # from a cell
    page.evaluate("model.set", play.state())
    assert past(page) == ["start", "fork 3", "decode 2"]
    say(page, "level 6")
    say(page, "join stitch")
    assert "Solved" in page.locator(".solved").inner_text()
    label, value = (page.locator(f"dl.counters {part}").first.bounding_box() for part in ("dt", "dd"))
    assert label["y"] + label["height"] <= value["y"] + 1, "one lies over the other"
    font = page.locator(".command-line .main").evaluate("button => getComputedStyle(button).fontSize")
    assert font == "15px" and page.title() == ""
    page.evaluate("stop()")
    assert page.locator(".graph").count() == 0 and page.evaluate("watching()") == 0
    assert not seen.errors
    page.close()

"""The recorded stepper in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium, two_joins
from helpers import make_engine

import miniapr
from miniapr.engine import operations as op
from miniapr.engine.request import Program
from miniapr.methods.budget import Budget
from miniapr.methods.play import play
from miniapr.methods.table import METHODS
from miniapr.players import game_of
from miniapr.stepper import Trace
from miniapr.stepper.page import document
from miniapr.stepper.trace import HEIGHT
from miniapr.tasks.states import State


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def both() -> Trace:
    return two_joins()


Open = Callable[..., Seen]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    pages = []

    def open_page(trace: Trace, hash: str = "", **options: Any) -> Seen:
        file = tmp_path / "trace.html"
        trace.to_html(file)
        seen = Seen(browser.new_page(**options))
        pages.append(seen)
        seen.page.goto(file.as_uri() + hash)
        return seen

    yield open_page
    for seen in pages:
        assert not seen.errors
        assert all(url.startswith("file://") for url in seen.requests), seen.requests
        seen.page.close()


def test_one_of_several_traces_is_chosen_by_its_name(browser: Any, both: Trace, tmp_path: Path) -> None:
    file = tmp_path / "several.html"
    titles = [run["title"] for run in both.runs]
    one = {run["title"]: {**both.data, "runs": [run]} for run in both.runs}
    file.write_text(document("two ways", one, before="<p>above</p>"), encoding="utf-8")
    seen = Seen(browser.new_page())
    seen.page.goto(file.as_uri())
    seen.page.locator(".stepper").press("ArrowRight")
    assert at(seen.page) == 1 and titles[0] in seen.page.locator(".runs").inner_text()
    seen.page.get_by_label("Step through").select_option(titles[1])
    assert at(seen.page) == 0 and titles[1] in seen.page.locator(".runs").inner_text()
    assert not seen.errors and all(url.startswith("file://") for url in seen.requests)
    seen.page.close()


def at(page: Any) -> int:
    return int(page.locator("output.count").inner_text().split("/")[0])


def wait(page: Any, reached: Callable[[int], bool]) -> None:
    for _ in range(100):  # in steps of 50 ms; the page's policy forbids playwright to evaluate a condition in it
        if reached(at(page)):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"still at step {at(page)}")


def test_stepping_by_button_and_by_key(opened: Open, both: Trace) -> None:
    page = opened(both).page
    assert at(page) == 0 and "starts with 8 tokens" in page.locator(".said").inner_text()
    page.get_by_role("button", name="Step on").click()
    page.locator(".stepper").press("ArrowRight")
    assert at(page) == 2
    page.locator(".stepper").press("ArrowLeft")
    assert at(page) == 1
    page.locator(".stepper").press("]")
    assert re.search(r"forks at position \d+ into 8", page.locator(".said").inner_text())
    assert page.locator(".run").first.locator(".graph .name").count() == 9
    page.locator(".stepper").press("End")
    last = at(page)
    page.locator(".stepper").press("ArrowRight")
    assert at(page) == last
    page.locator(".stepper").press("Home")
    assert at(page) == 0


def test_side_by_side_keeps_step_and_marks_what_differs(opened: Open, both: Trace) -> None:
    page = opened(both).page
    page.locator(".stepper").press("]")
    assert page.locator(".differs").count() == 0
    page.locator(".stepper").press("]")
    left, right = page.locator(".run").all()
    assert "by stitch: nothing computed, nothing moved" in left.locator(".telling").inner_text()
    assert re.search(r"re-prefill: \d+ tokens to compute again", right.locator(".telling").inner_text())
    page.locator(".stepper").press("ArrowRight")
    assert left.locator(".differs").count() == right.locator(".differs").count() > 0
    # Nine pieces at overlapping positions on one side, three on the other.
    assert left.locator("table tbody tr").count() == 10 and right.locator("table tbody tr").count() == 3


def test_a_link_to_a_step(opened: Open, both: Trace) -> None:
    page = opened(both, "#step=30").page
    assert at(page) == 30
    page.locator(".stepper").press("ArrowRight")
    assert page.evaluate("location.hash") == "#step=31"
    page.evaluate("location.hash = '#step=7'")
    wait(page, lambda step: step == 7)


def test_a_token_is_told_by_pointer_and_by_key(opened: Open, both: Trace) -> None:
    page = opened(both, "#step=38", viewport={"width": 1400, "height": 1000}).page
    lanes = page.locator(".lanes").first
    box = lanes.bounding_box()
    lanes.hover(position={"x": 60, "y": 28})
    first = page.locator(".run").first.locator(".part.token")
    assert box and "position" in first.inner_text() and "slot" in first.inner_text()
    lanes.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    before = first.inner_text()
    for _ in range(5):  # its seed was given, what comes after was sampled
        page.keyboard.press("ArrowRight")
    assert first.inner_text() != before and at(page) == 38
    assert "sampled with probability" in first.inner_text() and first.locator(".rival").count() == 5


def test_who_was_released_is_named_and_what_is_read_again_is_not_given(opened: Open) -> None:
    def program() -> Program:
        root = yield op.Start([1, 2, 3])
        left, right, late = yield op.Fork(root, [[4], [5], [6]])
        yield op.Decode([left, right, late], max_tokens=2)
        yield op.Release([late])
        yield op.Join(root, [left, right], "reprefill", then=[7])
        yield op.Settle([root])

    (engine := make_engine(record=True)).run(program())
    page = opened(Trace.of(engine), viewport={"width": 1280, "height": 900}).page
    page.locator(".stepper").press("End")
    # And not the root, which came to its end.
    assert page.locator(".graph .let").all_text_contents() == ["released"]
    assert page.locator(".said").inner_text().endswith("branch 0 ends with the thought.")
    page.locator(".graph .again").first.hover()
    assert "read again" in page.locator(".part.token").inner_text()


def searched(method: str) -> Trace:
    """A run of the shipped model."""
    bundle = miniapr.load()
    engine = miniapr.Engine(bundle.model, bundle.tokenizer, num_blocks=1000, record=True)
    game, budget = game_of(bundle), Budget(600)
    outcome = play(engine, METHODS[method](State((8, 7, 3), 29), game.player, budget), budget)
    assert outcome is not None
    came = {"answer": outcome.answer, "verdict": "correct", "right": True, "judge": outcome.judge}
    return Trace.of(engine, method, outcome=came)


@pytest.mark.parametrize("width", [400, 1300])
def test_a_search_can_be_read(opened: Open, width: int) -> None:
    """Its answer, its tree from the left, what each branch scored, the words that are no numbers."""
    page = opened(searched("mcts"), viewport={"width": width, "height": 900}).page
    page.locator(".stepper").press("End")
    assert page.locator(".outcome").inner_text() == "Answer ( 7 * 3 ) + 8 (chosen by value) · correct"
    names = page.locator(".graph .name")
    lefts = [round(name["x"]) for name in names.evaluate_all("all => all.map((n) => ({ x: n.getBBox().x }))")]
    tops = [name["y"] for name in names.evaluate_all("all => all.map((n) => ({ y: n.getBBox().y }))")]
    assert tops == sorted(tops) and len(set(lefts)) == 3 and lefts[0] == min(lefts)  # the problem, one step, two
    said = page.locator(".graph .let").all_text_contents()
    assert said[0].endswith("10 visits") and any(words == "score 1 · released" for words in said)
    control = page.locator(".graph .control").all_text_contents()
    assert bool(control) == (width > 1000) and all(re.fullmatch("</?[a-z]+>", word) for word in control)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_where_a_control_word_does_not_fit_it_is_begun_and_any_other_is_whole(opened: Open) -> None:
    trace = searched("hogwild")
    page = opened(trace, viewport={"width": 1300, "height": 900}).page
    page.locator(".stepper").press("End")
    words = {*trace.runs[0]["about"]["texts"].values()}
    begun = {word for word in page.locator(".graph .control").all_text_contents() if word not in words}
    assert "<t…>" in begun and "</t…>" in begun and all(re.fullmatch("</?[a-z]…>", word) for word in begun)
    assert {*page.locator(".graph .word:not(.control)").all_text_contents()} <= words


def test_a_position_below_0_is_no_range_of_dashes(opened: Open) -> None:
    page = opened(searched("hogwild"), viewport={"width": 1300, "height": 900}).page
    page.locator(".stepper").press("End")
    table = page.locator("table.table").inner_text()
    assert re.search(r"\u2212\d+ to \u2212\d+", table) and "Below 0" in table and "–-" not in table


def test_it_plays_and_pauses(opened: Open, both: Trace) -> None:
    page = opened(both).page
    page.get_by_role("button", name="Play").click()
    wait(page, lambda step: step >= 3)
    page.get_by_role("button", name="Pause").click()
    here = at(page)
    page.wait_for_timeout(500)
    assert at(page) == here


@pytest.mark.parametrize(("width", "height"), [(700, HEIGHT), (1400, 1000)])
def test_two_runs_stand_side_by_side_with_the_mask_in_sight(opened: Open, both: Trace, width: int, height: int) -> None:
    page = opened(both, "#step=90", viewport={"width": width, "height": height}).page
    left, right = (mask.bounding_box() for mask in page.locator("svg.mask").all())
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    assert left["y"] + left["height"] <= height


def test_escape_closes_the_list_of_keys(opened: Open, both: Trace) -> None:
    page = opened(both).page
    page.locator(".help summary").click()
    assert page.locator(".help dl").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".help dl").is_visible()


def test_a_label_is_a_whole_word_or_none(opened: Open, both: Trace) -> None:
    page = opened(both, "#step=2", viewport={"width": 1900, "height": 1000}).page
    words = {text for run in both.runs for text in run["about"]["texts"].values()}
    shown = page.locator("svg .word").all_text_contents()
    assert shown == [] or set(shown) <= words
    page.locator(".stepper").press("z")
    shown = page.locator("svg .word").all_text_contents()
    assert "<adaptive>" in shown and set(shown) <= words


@pytest.mark.parametrize("width", [360, 1280, 1920])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(opened: Open, both: Trace, width: int, scheme: str) -> None:
    """No sideways scrolling of the page, and nothing that axe finds wrong: contrast, names, roles."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    page = opened(both, "#step=80", viewport={"width": width, "height": 900}, color_scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


HOSTILE = "</script><img src=x onerror=alert(1)><b>&lt;"


def test_markup_in_a_token_stays_text(opened: Open, both: Trace) -> None:
    data = json.loads(json.dumps(both.data))
    for run in data["runs"]:
        run["title"] = HOSTILE
        run["about"]["texts"] = dict.fromkeys(run["about"]["texts"], HOSTILE)
        for event in run["events"]:
            if event["kind"] == "decoded":
                event["data"]["alternatives"] = [[1, -0.5, HOSTILE]]
    seen = opened(Trace(data), "#step=60")
    seen.page.on("dialog", lambda dialog: seen.errors.append("a dialog"))
    assert seen.page.locator("img, b").count() == 0
    assert HOSTILE in seen.page.locator("h2").first.inner_text()
    lanes = seen.page.locator(".lanes").first
    lanes.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        seen.page.keyboard.press(key)
    assert seen.page.locator(".shown").first.inner_text() == HOSTILE
    seen.page.locator(".stepper").press("End")
    assert seen.page.locator("img, b").count() == 0


def test_a_large_trace_scrubs(opened: Open) -> None:
    """32 branches of 2,000 tokens: every jump ends in the right place. (Frame times: benchmarks/stepper.py.)"""
    page = opened(large(32, 2000)).page
    for step in (2000, 3, 1500, 700, 1999):
        page.locator("input[type=range]").fill(str(step))
        assert at(page) == step
        assert page.locator("dl.counters dd").first.inner_text() == f"{32 * (step - 2):,}"


def large(width: int, length: int) -> Trace:
    """A trace as an engine would write it, without an engine."""

    def event(kind: str, step: int, branch: int | None = None, **data: Any) -> dict[str, Any]:
        return {"kind": kind, "step": step, "request": 0, "branch": branch, "data": data}

    view = [[0, 0, 16, 0]]
    events = [event("started", 0, 0, span=0, position=0, tokens=list(range(16)), view=[])]
    events += [event("computed", 0, 0, span=0, start=0, stop=16, blocks=[0]), event("pool", 0, refs={"0": width})]
    children = [{"branch": b + 1, "span": b + 1, "position": 16, "tokens": [], "view": view} for b in range(width)]
    events.append(event("forked", 0, 0, children=children, position=16, reused=16 * width))
    for i in range(length):
        refs = {}
        for b in range(width):
            block = 1 + b * (length // 16 + 1) + i // 16
            events.append(event("decoded", i + 1, b + 1, token=i % 100, text="x", logprob=-0.1))
            events.append(event("computed", i + 1, b + 1, span=b + 1, start=i, stop=i + 1, blocks=[block]))
            if i % 16 == 0:
                refs[str(block)] = 1
        events.append(event("pool", i + 1, refs=refs))
    about = {"texts": {str(i): f"t{i}" for i in range(100)}, "block_size": 16, "blocks": 5000, "block_bytes": 1}
    return Trace({"miniapr_trace": 2, "runs": [{"title": "", "about": about, "events": events}]})

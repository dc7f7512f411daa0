"""The book's first page in a real browser: it thinks, on a phone too; where it cannot, it says so."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from browser import Seen, chromium
from test_alive_browser import cut, served

import miniapr
from miniapr.stepper import Session
from miniapr.stepper.engine import as_script
from miniapr.tasks import Problem, prompt_text

BOOK = Path(__file__).parents[1] / "book"
MOST = 4_000_000  # bytes that the page may cost


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def load_landing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("book_landing", BOOK / "landing.py")
    assert spec and spec.loader
    module = sys.modules["book_landing"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first page as the book has it, without the rest of the book."""
    folder, landing = tmp_path_factory.mktemp("site"), load_landing()
    (folder / "_static").mkdir()
    (folder / landing.ENGINE).write_text(as_script(), encoding="utf-8")
    (folder / "index.html").write_text(landing.page(), encoding="utf-8")
    return folder


def thought(page: Any, ends: int = 1) -> list[str]:
    """What it came to, join by join, as soon as there are so many ``ends``."""
    cards = page.locator(".outcome section")
    cards.nth(ends - 1).wait_for()
    return [re.sub(r"\s+", " ", card.inner_text()) for card in cards.all()]


@pytest.fixture(scope="module")
def both() -> list[str]:
    """What Python's engine comes to."""
    said, bundle = [], miniapr.load()
    for how, title in (("stitch", "stitch"), ("reprefill", "re-prefill")):
        with Session(bundle, bundle.tokenizer.ids(prompt_text(Problem((8, 7, 3), 29)).split())) as session:
            session.play("decode", "fork 8", "decode", f"join {how}", "decode")
            again, critical = session.cost.recomputed, session.critical
        said.append(card(title, critical, f"{again} computed again for the join" if again else "none computed again"))
    return said


def card(title: str, critical: int, again: str) -> str:
    return f"{title} ( 7 * 3 ) + 8 \u2713 {critical} tokens one after the other: that is the wait {again}"


@pytest.fixture(scope="module")
def line() -> str:
    """The same in line."""
    bundle = miniapr.load()
    prompt = prompt_text(Problem((8, 7, 3), 29), "sequential")
    with Session(bundle, bundle.tokenizer.ids(prompt.split())) as session:
        session.play("decode", "decode")
        return card("in line, without a fork", session.critical, "none computed again")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_thinks_as_it_is_opened(
    width: int, scheme: str, browser: Any, site: Path, both: list[str], line: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    with served(site) as address:
        seen = Seen(browser.new_page(viewport={"width": width, "height": 740}, color_scheme=scheme))
        seen.page.goto(address)
        assert thought(seen.page, 3) == [*both, line]
        boxes = [run.bounding_box() for run in seen.page.locator(".run").all()]
        assert len(boxes) == 2 and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]  # side by side
        seen.page.get_by_text("What the counters count").press("Enter")  # no pointer, nothing to hover with
        assert seen.page.get_by_text("tokens sampled", exact=True).is_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = axe.Axe().run(seen.page)
        assert found.violations_count == 0, found.generate_report()
        assert seen.page.locator(".again button").all_inner_texts() == ["plan", "branches", "joins"]
        for stage, runs in (("branches", 1), ("joins", 2)):
            seen.page.get_by_role("button", name=stage, exact=True).click()
            seen.page.locator(".stage", has_text={1: "a branch of its own", 2: "joined in two ways"}[runs]).wait_for()
            assert seen.page.locator(".run").count() == runs
        assert thought(seen.page, 3) == [*both, line]  # nothing is thought again for it
        assert not seen.errors
        assert all(url.startswith((address, "blob:", "data:")) for url in seen.requests), seen.requests
        loaded = {site / url.removeprefix(address) for url in seen.requests if url.startswith(address)}
        assert sum((path / "index.html" if path == site else path).stat().st_size for path in loaded) < MOST
        seen.page.close()


def test_another_problem_by_key_alone(browser: Any, site: Path) -> None:
    """Also from a file; the first thought is given up for the second."""
    seen = Seen(browser.new_page(reduced_motion="reduce"))
    seen.page.goto((site / "index.html").as_uri())
    seen.page.get_by_label("Target").focus()
    seen.page.keyboard.press("Control+A")
    seen.page.keyboard.type("24")
    seen.page.keyboard.press("Tab")
    seen.page.keyboard.press("Control+A")
    seen.page.keyboard.type("6 5 4")
    seen.page.keyboard.press("Enter")
    seen.page.locator(".stage", has_text="Make 24 of 6, 5, 4").wait_for()
    assert thought(seen.page)
    assert not seen.errors
    seen.page.close()


@pytest.mark.parametrize(
    ("engine", "why"),
    [(cut, "cut short"), (lambda _: "nonsense(", "its file is broken"), (None, "its file is not there")],
)
def test_where_the_engine_is_broken_a_recorded_run_is_shown(
    engine: Any, why: str, browser: Any, site: Path, tmp_path: Path, both: list[str]
) -> None:
    (tmp_path / "index.html").write_text((site / "index.html").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "_static").mkdir()
    if engine:
        text = engine((site / "_static" / "miniapr-engine.js").read_text(encoding="utf-8"))
        (tmp_path / "_static" / "miniapr-engine.js").write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    assert thought(page) == both
    said = page.locator(".stage").inner_text()
    assert why in said and "What you see is a recorded run" in said
    page.get_by_role("button", name="Step back").click()
    page.close()


def test_without_javascript_there_is_a_picture_and_the_book(browser: Any, site: Path) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto((site / "index.html").as_uri())
    assert "Without JavaScript" in page.locator("main").inner_text()
    assert page.get_by_role("link", name="Read the book").is_visible() and page.get_by_role("img").count() == 1
    page.close()

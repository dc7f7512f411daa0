"""The book as a reader clicks through it: every page of the site that `python book/build.py` has made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium

SITE = Path(__file__).parents[1] / "build" / "book" / "site"
PAGES = [file for file in sorted(SITE.rglob("*.html")) if file.stem not in ("genindex", "search")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.mark.skipif(not PAGES, reason="no book: python book/build.py")
def test_there_are_chapters_with_steppers() -> None:
    framed = [file for file in PAGES if "<iframe" in file.read_text(encoding="utf-8")]
    assert len([file for file in framed if file.parent.name == "tutorials"]) >= 5


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(SITE)))
def test_every_stepper_of_a_page_steps(file: Path, browser: Any) -> None:
    seen = Seen(browser.new_page(viewport={"width": 1400, "height": 1000}))
    seen.page.goto(file.as_uri())
    frames = seen.page.locator("iframe")
    for number in range(frames.count()):
        frames.nth(number).scroll_into_view_if_needed()  # those that are out of sight are not loaded
        stepper = frames.nth(number).content_frame
        before = int(stepper.locator("output.count").inner_text().split(" / ")[0])
        stepper.get_by_role("button", name="Step on" if before == 0 else "Step back").click()
        after = int(stepper.locator("output.count").inner_text().split(" / ")[0])
        assert abs(after - before) == 1
    assert not seen.errors
    assert all(url.startswith(("file://", "data:", "about:", "blob:")) for url in seen.requests), seen.requests
    seen.page.close()

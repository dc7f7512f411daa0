"""The judge of the book's pages: what leads nowhere or would need a network is found."""

from __future__ import annotations

import html
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from miniapr.stepper.page import WHERE


def load(name: str) -> ModuleType:
    file = Path(__file__).parents[1] / "book" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"book_{name}", file)
    assert spec and spec.loader
    module = sys.modules[f"book_{name}"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


links = load("links")

GOOD = """<link rel=stylesheet href="a/style.css?v=1"><a href="a/two.html#there">two</a><a href="#here">here</a>
<h1 id="here">One</h1><img src="a/x%20y.png"><a href="https://example.org">elsewhere</a><img src="data:image/png;,">"""


def site(folder: Path, page: str = GOOD, style: str = "") -> list[str]:
    (folder / "a").mkdir()
    (folder / "index.html").write_text(page, encoding="utf-8")
    (folder / "a" / "two.html").write_text('<h2 id="there">Two</h2><a href="../index.html">up</a>', encoding="utf-8")
    (folder / "a" / "style.css").write_text(style, encoding="utf-8")
    (folder / "a" / "x y.png").write_bytes(b"")
    found: list[str] = links.problems(folder)
    return found


def test_sound_site_has_no_problems(tmp_path: Path) -> None:
    assert site(tmp_path) == []


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ('<a href="a/three.html">', "a/three.html is not there"),
        ('<a href="a/two.html#nowhere">', "has no such anchor"),
        ('<a href="#nowhere">', "has no such anchor"),
        ('<img src="missing.png">', "missing.png is not there"),
        ('<iframe srcdoc="<meta name=miniapr-engine content=no.js>">', "no.js is not there"),
        ('<script src="https://cdn.example.org/x.js">', "loads https://cdn.example.org/x.js"),
        ('<script src="//cdn.example.org/x.js">', "loads //cdn.example.org/x.js"),
        ('<link rel="preconnect" href="https://fonts.example.org">', "loads https://fonts.example.org"),
        ('<p style="background: url(https://example.org/x.png)">', "loads https://example.org/x.png"),
        ("<iframe srcdoc=\"<script src='https://example.org/x.js'>\">", "loads https://example.org/x.js"),
    ],
)
def test_bad_page_is_found(page: str, complaint: str, tmp_path: Path) -> None:
    (found,) = site(tmp_path, page)
    assert found.startswith("index.html: ") and found.endswith(complaint)


def test_styles_load_nothing_from_a_network(tmp_path: Path) -> None:
    (found,) = site(tmp_path, style="@font-face { src: url('https://example.org/font.woff') }")
    assert "loads https://example.org/font.woff" in found


def test_steppers_of_the_book_know_where_the_engine_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx", reason="no sphinx: pip install '.[book]'")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "book"))
    build = load("build")
    frame = f"<iframe srcdoc='{html.escape(WHERE.format(''))}'></iframe>"
    cell = nbformat.v4.new_code_cell("trace", outputs=[nbformat.v4.new_output("display_data", {"text/html": frame})])
    chapter = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# One"), cell])
    (output,) = build.for_the_book(chapter, "one").cells[1].outputs
    assert links.Page(output["data"]["text/html"]).loads == ["../_static/miniapr-engine.js"]

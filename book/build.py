"""Builds the book: a static site that needs no server and no network.

    python book/build.py            into build/book/site
    python book/build.py --quick    without running the chapters: their code, and no output

The chapters are run from top to bottom; one that was run before with the same cells and the same package, here or by
the tests, is not run again. A warning of Sphinx, a link that leads nowhere and a page that loads anything from a
network are errors.
"""

from __future__ import annotations

import argparse
import html
import shutil
import sys
import tempfile
from itertools import groupby
from pathlib import Path

import landing  # these two are beside this file
import links
import nbformat
from nbformat import NotebookNode
from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tutorials"))
import notebooks  # noqa: E402

import miniapr  # noqa: E402
from miniapr.learn.exercise import CHAPTERS, exercises  # noqa: E402
from miniapr.stepper.engine import as_script  # noqa: E402
from miniapr.stepper.page import WHERE  # noqa: E402


def build(out: Path, run: bool = True) -> list[str]:
    """The site in ``out/site``; returns what is wrong with it."""
    source, site = out / "source", out / "site"
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(ROOT / "book", source, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(ROOT / "book" / "conf.py", source)
    shutil.copytree(ROOT / "docs", source / "docs")
    shutil.copytree(ROOT / "docs" / "images", source / "extra" / "images")
    (source / "exercises.md").write_text(exercise_page(), encoding="utf-8")
    for folder in ("tutorials", "notebooks"):
        (source / folder).mkdir()
    for file in notebooks.sources():
        chapter = notebooks.notebook(file)
        (source / "notebooks" / f"{file.stem}.ipynb").write_text(notebooks.text(chapter), encoding="utf-8")
        made = for_the_book(executed(file) if run else chapter, file.stem)
        nbformat.write(made, source / "tutorials" / f"{file.stem}.ipynb")
    code = build_main(["-b", "html", "-q", "-W", "--keep-going", "-n", str(source), str(site)])
    if code:
        return [f"sphinx-build: {code}"]
    put_alive(site)
    return links.problems(site)


def put_alive(site: Path) -> None:
    """What thinks without a server: the first page, and the engine that all pages load."""
    (site / landing.ENGINE).write_text(as_script(), encoding="utf-8")
    (site / "index.html").write_text(landing.page(), encoding="utf-8")
    (site / ".nojekyll").touch()
    shutil.copy(ROOT / "book" / "README.md", site)


def executed(file: Path) -> NotebookNode:
    """With its outputs: those of an earlier run if nothing changed since."""
    if made := notebooks.kept(file):
        return made
    print(f"running {file.stem}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return notebooks.keep(file, notebooks.run(notebooks.notebook(file), Path(folder)))


def for_the_book(made: NotebookNode, stem: str) -> NotebookNode:
    """A page is read, not run: no installation, and the notebook to take away. But its steppers can think: there is an
    engine for them."""
    take = f"{{download}}`This chapter as a notebook <../notebooks/{stem}.ipynb>`"
    title, _, rest = made.cells[0].source.partition("\n")
    made.cells[0].source = f"{title}\n\n{take}\n{rest}"
    for cell in made.cells:
        if cell.cell_type == "code" and "pip install" in cell.source.replace('", "', " "):
            cell.metadata["tags"] = [*cell.metadata.get("tags", []), "remove-cell"]
        for output in cell.get("outputs", ()):
            if "text/html" in (data := output.get("data", {})):
                nowhere, there = (html.escape(WHERE.format(at)) for at in ("", f"../{landing.ENGINE}"))
                data["text/html"] = data["text/html"].replace(nowhere, there)
    return made


def exercise_page() -> str:
    """What each exercise asks for. Hints and solutions stay with the command."""
    lines = [
        "# Exercises",
        "",
        "They check themselves, in a folder of your own:",
        "",
        "```sh",
        "miniapr learn init     # writes a file for each exercise",
        "miniapr learn next     # what to do",
        "miniapr learn check    # green, or the smallest input for which your code is wrong",
        "miniapr learn hint     # one step further",
        "```",
    ]
    for number, chapter in groupby(exercises(), key=lambda exercise: exercise.chapter):
        lines += ["", f"## {number} {CHAPTERS[number] if number < len(CHAPTERS) else ''}".rstrip()]
        for exercise in chapter:
            lines += ["", f"### {exercise.id} {exercise.title}", "", exercise.text]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the book, a static site.")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "book", help="default: build/book")
    parser.add_argument("--quick", action="store_true", help="do not run the chapters")
    args = parser.parse_args()
    found = build(args.out.resolve(), run=not args.quick)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"miniapr {miniapr.__version__}: {args.out / 'site' / 'index.html'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

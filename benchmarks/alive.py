"""How fast a page thinks, in a real browser: python -m benchmarks.alive

The engine in JavaScript: how long it takes to start, tokens a second with one branch and with eight, and the book's
first page, from opening it to two joins side by side, on a wide screen and on a phone.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "book"))

import landing
from browser import chromium
from test_alive_browser import served

import miniapr
from miniapr.stepper import Session
from miniapr.stepper.engine import as_script, packed

ROUNDS = 7
MEASURE = """async (rounds) => {
  const { worker, model, weights } = JSON.parse(document.getElementById("miniapr-engine").textContent);
  const found = { load: [], 1: [], 8: [] };
  for (let round = 0; round < rounds; round++) {
    const begun = performance.now(), thread = new Worker(URL.createObjectURL(new Blob([worker])));
    const ask = (what) => new Promise((done) => {
      thread.onmessage = ({ data }) => done(data);
      thread.postMessage({ turn: 0, ...what });
    });
    await ask({ model, weights });
    found.load.push(performance.now() - begun);
    for (const width of [1, 8]) {
      await ask({ prompt: "<bos> <adaptive> 8 7 3 -> 29 :" });
      await ask({ line: `fork ${width}` });
      const { state, seconds } = await ask({ line: "decode 40" });
      found[width].push(Number(/^[0-9]+/.exec(state.said)[0]) / seconds);
    }
    thread.terminate();
  }
  return found;
}"""


def engine(browser: Any, folder: Path) -> None:
    with Session(miniapr.load()) as session:
        session.trace.to_html(folder / "run.html", engine=packed())
    page = browser.new_page()
    page.goto((folder / "run.html").as_uri())
    found = page.evaluate(MEASURE, ROUNDS)
    told(f"start of the engine, ms (n={ROUNDS})", found["load"])
    told("tokens a second, 1 branch", found["1"])
    told("tokens a second, 8 branches", found["8"])
    page.close()


def first_page(browser: Any, folder: Path) -> None:
    (folder / "_static").mkdir()
    (folder / landing.ENGINE).write_text(as_script(), encoding="utf-8")
    (folder / "index.html").write_text(landing.page(), encoding="utf-8")
    with served(folder) as address:
        for width in (1280, 360):
            seconds = []
            for _ in range(ROUNDS):
                page, begun = browser.new_page(viewport={"width": width, "height": 740}), time.perf_counter()
                page.goto(address)
                page.locator(".outcome section").first.wait_for(timeout=60_000)
                seconds.append(time.perf_counter() - begun)
                page.close()
            told(f"first page to both joins, s, {width} px (n={ROUNDS})", seconds)


def told(what: str, values: list[float]) -> None:
    print(f"{what:48} {statistics.median(values):8.1f} (from {min(values):.1f} to {max(values):.1f})", flush=True)


def main() -> None:
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        engine(browser, Path(folder))
        first_page(browser, Path(folder))


if __name__ == "__main__":
    main()

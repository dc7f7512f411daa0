"""How long the stepper takes to draw a step of a large trace, in a real browser: python -m benchmarks.stepper

32 branches of 2,000 tokens; steps one after the other, as when it plays, and jumps, as when one scrubs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import chromium
from test_stepper_browser import large

DRAW = """(steps) => {
  const bar = document.querySelector("input[type=range]"), times = [];
  for (const step of steps) {
    const begun = performance.now();
    bar.value = step;
    bar.dispatchEvent(new Event("input"));
    document.body.getBoundingClientRect();  // so that the layout counts too
    times.push(performance.now() - begun);
  }
  return times;
}"""


def main() -> None:
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.html"
        large(32, 2000).to_html(file)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())
        for name, steps in (("on, step by step", range(1000, 1300)), ("jumps", [(i * 739) % 2000 for i in range(100)])):
            times = sorted(page.evaluate(DRAW, list(steps)))
            high = times[int(0.95 * len(times))]
            print(f"{name:18} {statistics.median(times):6.1f} ms in the middle, {high:6.1f} ms at 95 %")


if __name__ == "__main__":
    main()

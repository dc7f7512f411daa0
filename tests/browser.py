"""A real browser, headless, without a network: Debian's chromium (or $CHROMIUM), driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serving import HANG

import miniapr
from miniapr.stepper import Trace
from miniapr.tasks import Problem, prompt_text

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


class Seen:
    """A page, and what it did that nobody asked for: errors, messages, requests to anything but its own address."""

    def __init__(self, page: Any) -> None:
        page.set_default_timeout(1000 * HANG)
        self.page, self.errors, self.requests = page, list[str](), list[str]()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: self.requests.append(request.url))


@contextmanager
def chromium() -> Iterator[Any]:
    """Skips where there is no browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("no chromium: apt install chromium, or say where one is in CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def two_joins() -> Trace:
    """A run of the shipped model, joined by stitch and by re-prefill, with the rivals of every token."""
    bundle = miniapr.load()
    control = miniapr.Control.of(bundle.tokenizer, bundle.control)
    prompt = bundle.tokenizer.ids(prompt_text(Problem((3, 7, 8), 29)).split())
    traces = []
    for how in ("stitch", "reprefill"):
        engine = miniapr.Engine(bundle.model, bundle.tokenizer, num_blocks=96, record=True)
        root = engine.start(prompt, miniapr.Sampling(logprobs=5))
        engine.decode([root], until=control.ends)
        plan = miniapr.read_plan(root.tokens, control, width=16)
        threads = engine.fork(root, [(control.thread, *item) for item in plan.items])
        engine.decode(threads, until=control.ends)
        engine.perform(root, miniapr.Settle(threads))
        engine.decode([engine.join(root, threads, how, then=[control.join])], until=control.ends)
        traces.append(Trace.of(engine, how))
    return traces[0] | traces[1]

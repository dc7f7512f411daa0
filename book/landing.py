"""The first page of the site: it thinks while one watches. No server, no network: any static host will do."""

from __future__ import annotations

from typing import Any

import miniapr
from miniapr.stepper import Session
from miniapr.stepper.page import ALIVE, FILES, NONCE, POLICY, WHERE, inline, script, style
from miniapr.tasks import Problem, prompt_text

ENGINE = "_static/miniapr-engine.js"
PROBLEM = Problem((8, 7, 3), 29)
PICTURE = "images/compare.png"


def recorded(problem: Problem = PROBLEM) -> dict[str, Any]:
    """What is shown where the engine cannot run: the same thought, by the engine in Python."""
    bundle, runs = miniapr.load(), []
    prompt = bundle.tokenizer.ids(prompt_text(problem).split())
    for how, title in (("stitch", "stitch"), ("reprefill", "re-prefill")):
        with Session(bundle, prompt) as session:
            session.play("decode", "fork 8", "decode", f"join {how}", "decode")
            (run,) = session.trace.runs
            runs.append({**run, "title": title})
    data = {**session.trace.data, "runs": runs}
    return {"problem": {"numbers": problem.descending, "target": problem.target}, "trace": data}


def page() -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY} 'self'">
{WHERE.format(ENGINE)}
<title>miniapr: thinking in parallel</title>
<link rel="icon" href="data:,">
<style>{style("stepper.css", "live.css", "alive.css", "landing.css")}</style>
</head>
<body class="miniapr landing">
<main>
<h1>Thinking in parallel</h1>
<p>A language model that forks its own thought: tries that need not wait for one another are decoded side by side,
then joined. It has 0.9 million parameters and runs in this page, right now. This is the first page of <b>miniapr</b>, a
small engine from which to learn how such thinking works and what it costs.</p>
<nav aria-label="Book"><a href="chapters.html">Read the book</a>
<a href="tutorials/00_ten_minutes.html">Ten minutes</a> <a href="tutorials/09_ways_to_think.html">Ways to think</a>
<a href="docs/methods.html">All methods</a>
<a href="docs/architecture.html">How it is built</a></nav>
<p>The puzzle: make the first number of the others with + - * /, each used once. Some have no solution.</p>
<div id="landing"></div>
<noscript><p>Without JavaScript nothing can think here. This is a recorded run; the book can be read.</p>
<figure><img src="{PICTURE}" alt="One run: who decoded when, and the pool of KV blocks over time"></figure></noscript>
</main>
<script type="application/json" id="recorded">{inline(recorded())}</script>
<script type="module" nonce="{NONCE}">
{script(*FILES, *ALIVE, "landing.js")}
landing_js.landing(document.getElementById("landing"), JSON.parse(document.getElementById("recorded").textContent));
</script>
</body>
</html>
"""

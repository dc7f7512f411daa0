"""The stepper's page: scripts and styles joined, the trace inside, nothing to fetch."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent / "static"
FILES = (  # each after what it imports
    "address.js", "svg.js", "engine/countdown.js", "state.js", "happened.js", "run.js", "rows.js", "telling.js",
    "graph.js", "pool.js", "mask.js", "panel.js", "app.js",
)  # fmt: skip

LIVE = ("levels.js", "live.js")
ALIVE = ("thinker.js", "problem.js", *LIVE, "tryout.js")  # with the engine in the page

IMPORT = re.compile(r'^import \{(.+)\} from "\./(?:\w+/)?(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)
DEFAULT = re.compile(r"^export default (.+);$", re.MULTILINE)

# Neither the page nor anything in a trace may load or send: what it needs is in it, but for the engine (engine.py),
# which a site has once for all of its pages. The nonce marks the page's own scripts: nothing in a trace becomes markup.
NONCE = "miniapr"
POLICY = f"default-src 'none'; script-src 'nonce-{NONCE}'; worker-src blob:; style-src 'unsafe-inline'; img-src data:"
WHERE = (
    '<meta name="miniapr-engine" content="{}">'  # the address of a script, as engine.as_script writes it; or nothing
)


def style(*files: str) -> str:
    """The style sheets as one."""
    return "\n".join((STATIC / name).read_text(encoding="utf-8") for name in files)


def script(*files: str) -> str:
    """ES modules as one: each a function that returns what it exports, after those that it imports. A default export
    is the joined module's."""
    return "\n".join(_scope(name) for name in files)


def _scope(name: str) -> str:
    text = (STATIC / name).read_text(encoding="utf-8")
    names = EXPORT.findall(text)
    default = DEFAULT.search(text)
    text = IMPORT.sub(lambda m: f"const {{{m[1].replace(' as ', ': ')}}} = {m[2]}_js;", text)
    text = DEFAULT.sub(r"const default_js = \1;", EXPORT.sub("", text))
    if re.search(r"^(import|export)\b", text, re.MULTILINE):
        raise ValueError(f"{name} has an import or export that takes more than one line, or is of an unknown form")
    module, exported = Path(name).stem + "_js", [*names, *(["default_js"] if default else [])]
    scope = f"const {module} = (() => {{\n{text}\nreturn {{ {', '.join(exported)} }};\n}})();"
    return scope + (f"\nexport default {module}.default_js;" if default else "")


def inline(data: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element."""
    return json.dumps(data, ensure_ascii=True).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def page(data: Mapping[str, Any], step: int | None = None, engine: str = "") -> str:
    """A whole page with a trace in it, opened at ``step`` unless the address names one (``#step=12``)."""
    title = " | ".join(run["title"] for run in data["runs"] if run["title"]) or "a run"
    return document(title, {title: data}, step=step, heading="unseen", engine=engine)  # each run has its title above it


def document(
    title: str,
    traces: Mapping[str, Any],
    before: str = "",
    step: int | None = None,
    heading: str = "seen",
    engine: str = "",
) -> str:
    """A page with one trace, or with several to choose from by their names.

    before   HTML that stands above
    heading  "unseen" leaves the title to those who cannot see the page
    engine   an engine for the page to think with (``engine.packed``); "": it replays, unless it is told later where
             one is (``WHERE``)
    """
    options = {"step": step or 0, "hash": True}
    names = "".join(f"<option>{html.escape(name)}</option>" for name in traces)
    choice = f'<p><label>Step through: <select id="which">{names}</select></label></p>' if len(traces) > 1 else ""
    embedded = f'<script type="application/json" id="miniapr-engine">{engine}</script>' if engine else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
{WHERE.format("")}
<title>{html.escape(title)} - miniapr stepper</title>
<style>{style("stepper.css", "live.css", "alive.css")}</style>
</head>
<body class="miniapr">
<main id="stepper"><h1 class="{heading}">{html.escape(title)}</h1>{before}{choice}</main>
<noscript>This page needs JavaScript: it draws a run of miniapr, step by step.</noscript>
<script type="application/json" id="traces">{inline([*traces.values()])}</script>
{embedded}
<script type="module" nonce="{NONCE}">
{script(*FILES, *ALIVE)}
const element = document.getElementById("stepper"), which = document.getElementById("which");
try {{
  const traces = JSON.parse(document.getElementById("traces").textContent);
  const app = app_js.mount(element, traces[0], {inline(options)});
  which?.addEventListener("change", () => app.load(traces[which.selectedIndex], 0, null));
  tryout_js.tryout(app, traces[0]);
  // In a frame the keys belong to whoever put it there, until the reader comes in.
  if (!which && parent === window) element.querySelector(".stepper").focus({{ preventScroll: true }});
}} catch (error) {{
  element.append(`This trace cannot be drawn: ${{error.message}}`);
}}
</script>
</body>
</html>
"""

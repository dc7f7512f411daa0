"""Sphinx's settings. `python book/build.py` prepares the folder that this file is read from."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

project = "miniapr"
author = "the authors of miniapr"
project_copyright = "Apache-2.0"
extensions = ["myst_nb", "sphinx_copybutton"]
root_doc = "chapters"  # index.html is landing.py's
exclude_patterns = ["notebooks", "README.md"]  # those are for downloading, this is for whoever puts the site online
suppress_warnings = ["myst.strikethrough"]

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # build.py has run them
nb_merge_streams = True
nb_ipywidgets_js: dict[
    str, Any
] = {}  # widgets need a kernel; a page has none, and may not ask a network for their code

html_theme = "furo"
html_title = "miniapr"
html_static_path = ["_static"]
html_favicon = "_static/icon.svg"
html_extra_path = ["extra"]
html_css_files = ["book.css"]
html_math_renderer = "mathml"
html_show_search_summary = False  # would fetch each page, which a browser refuses for files
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": False}  # the arrows belong to the steppers
copybutton_prompt_text = "$ "
pygments_style = "default"


def _mathml(self: Any, node: nodes.math | nodes.math_block) -> None:
    """Browsers draw MathML by themselves, so no script has to be fetched or shipped."""
    block = isinstance(node, nodes.math_block)
    try:
        math = tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        raise ExtensionError(f"formula {node.astext()!r}: {error}") from error
    self.body.append(f'<div class="math">{math}</div>' if block else math)
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", inline_renderers=(_mathml, None), block_renderers=(_mathml, None))

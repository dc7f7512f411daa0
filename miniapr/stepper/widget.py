"""The live stepper in a notebook: the same page, with the kernel in the server's place."""

from __future__ import annotations

from typing import Any

from .page import FILES, script, style
from .play import Play


def widget(play: Play) -> Any:
    """An anywidget that drives what ``play`` drives. Raises ImportError, with what to install, without anywidget."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError("the live stepper in a notebook needs anywidget: pip install 'miniapr[notebook]'") from error

    class Stepper(anywidget.AnyWidget):
        _esm = script(*FILES, "levels.js", "live.js", "notebook.js")
        _css = style("stepper.css", "live.css")
        state = traitlets.Dict().tag(sync=True)

        def __init__(self) -> None:
            super().__init__(state=play.state() | {"turn": 0})
            self.on_msg(self._told)

        def _told(self, _: Any, message: Any, __: Any) -> None:
            line = message.get("line") if isinstance(message, dict) else None
            if isinstance(line, str):  # the turn: an answer that is like the last one is an answer too
                self.state = play.do(line) | {"turn": self.state["turn"] + 1}

    return Stepper()

"""The live stepper in a notebook: the same page, with the kernel in the server's place."""

from __future__ import annotations

from typing import Any

from .page import FILES, script, style
from .play import Play
from .session import Session


def widget(session: Session) -> Any:
    """An anywidget that drives this very session: what is done in one shows in the other. Raises ImportError, with what
    to install, without anywidget."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise ImportError("the live stepper in a notebook needs anywidget: pip install 'miniapr[notebook]'") from error

    play = Play(session)

    class Stepper(anywidget.AnyWidget):
        _esm = script(*FILES, "levels.js", "live.js", "notebook.js")
        style = traitlets.Unicode(style("stepper.css", "live.css")).tag(sync=True)  # _css would be the whole page
        state = traitlets.Dict().tag(sync=True)

        def __init__(self) -> None:
            super().__init__(state=play.state() | {"turn": 0})
            self.answering = False
            self.on_msg(self._told)
            session.watchers.append(self._look)

        def _told(self, _: Any, message: Any, __: Any) -> None:
            line = message.get("line") if isinstance(message, dict) else None
            if isinstance(line, str):
                self.answering = True
                try:
                    self._show(play.do(line))
                finally:
                    self.answering = False

        def _look(self) -> None:
            """The session was driven from a cell."""
            if not self.answering:
                self._show(play.state(f"`{session.now.command}`"))

        def _show(self, state: dict[str, Any]) -> None:
            # Every state has a number of its own, so that an answer like the last one arrives too.
            self.state = state | {"turn": self.state["turn"] + 1}

    return Stepper()

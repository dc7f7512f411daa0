"""What a page or a notebook shows of a session: its state as plain data, and the levels around it."""

from __future__ import annotations

from typing import Any

from ..plain import is_text
from .level import Level
from .levels import LEVELS
from .session import Session

LONGEST = 400  # characters of a command
WELCOME = "The prompt is computed and lies in the pool. Try `fork 3`, or begin with `level 1`. All commands: `help`."


class Play:
    """One learner at one page: a free session, or a level's. Owns the level's session, and what has been solved.

    Understands all commands of a session, and: `level 3`, `hint`, `reset`, `free`. Levels need a session that was made
    of a bundle.
    """

    def __init__(self, session: Session) -> None:
        self._free = self.session = session
        self._level: Level | None = None
        self._goal: Session | None = None
        self._hints = 0
        self._solved: set[Level] = set()

    def do(self, line: str) -> dict[str, Any]:
        """Run a command. Returns the new state; a mistake is told in it (``error``), and has changed nothing."""
        try:
            if len(line) > LONGEST:
                raise ValueError(f"a command has at most {LONGEST} characters, this one {len(line):,}")
            if not is_text(line):
                raise ValueError("half of a surrogate pair is no character")
            return self.state(self._run(line))
        except ValueError as error:
            return self.state(str(error), error=True)

    def _run(self, line: str) -> str:
        name, _, rest = line.strip().partition(" ")
        if name == "level":
            return self._begin(rest.strip())
        if name == "free":
            self._leave()
            return "No goal: try what you like."
        if name == "reset":
            start = len(self._level.start) if self._level else 0
            moves = len(self.session.history) - start
            return self.session.undo(moves) if moves > 0 else "This is the beginning."
        if name == "hint":
            return self._hint()
        return self.session.do(line)

    def _begin(self, rest: str) -> str:
        if not (rest.isascii() and rest.isdecimal() and len(rest) < 4 and 1 <= int(rest) <= len(LEVELS)):
            raise ValueError(f"there are levels 1 to {len(LEVELS)}, not {rest!r}")
        if self._free.bundle is None:
            raise ValueError("levels need a session of a bundle: Session(miniapr.load())")
        level = LEVELS[int(rest) - 1]
        self._leave()
        self._level, self._hints = level, 0
        self.session, self._goal = level.begin(self._free.bundle), level.solved(self._free.bundle)
        return level.text

    def _leave(self) -> None:
        """Back to the free session, as it was left."""
        if self._level and self._goal:
            self.session.close()
            self._goal.close()
        self.session, self._level, self._goal = self._free, None, None

    def _hint(self) -> str:
        if self._level is None:
            raise ValueError("there is no level to give a hint for: `level 1`")
        self._hints = min(self._hints + 1, len(self._level.hints))
        return self._level.hints[self._hints - 1]

    def close(self) -> None:
        self._leave()
        self._free.close()

    # What is shown

    def state(self, said: str = WELCOME, error: bool = False) -> dict[str, Any]:
        """All that a page draws."""
        session = self.session
        alive = session.root.request.alive
        return {
            "said": said,
            "error": error,
            "trace": session.trace.data,
            "goal": self._goal.trace.data if self._goal else None,
            "history": session.history,
            "future": session.future,
            "focus": session.focus,
            "branches": [{"id": b.id, "leaf": not b.children, "ended": session.ended(b)} for b in alive],
            "offers": session.offers,
            "level": self._about_level(),
            "levels": [{"title": level.title, "solved": level in self._solved} for level in LEVELS],
        }

    def _about_level(self) -> dict[str, Any] | None:
        if self._level is None or self._goal is None:
            return None
        level, conditions = self._level, self._level.check(self.session, self._goal)
        solved = all(condition.met for condition in conditions)
        if solved:
            self._solved.add(level)
        return {
            "number": LEVELS.index(level) + 1,
            "title": level.title,
            "text": level.text,
            "conditions": [vars(condition) for condition in conditions],
            "solved": solved,
            "hints": list(level.hints[: self._hints]),
            "more_hints": self._hints < len(level.hints),
            "moves": len(self.session.history) - len(level.start),
            "shortest": len(level.solution),
        }

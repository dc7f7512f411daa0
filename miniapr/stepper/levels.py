"""The twenty levels, in the order in which they are played."""

from __future__ import annotations

from collections.abc import Callable

from ..tasks.countdown import verify
from ..tasks.terse import extract_answer
from .beyond import BEYOND
from .level import PROBLEM, Level
from .session import Session
from .tree import PROMPT

PLAIN = "<bos> <adaptive> 8 7 3 -> 29 :"
THREE = ("fork 3", "decode")


def says(word: str) -> Callable[[Session], bool]:
    """Whether one branch is left to go on from, and this word stands in what it attends to."""
    return lambda session: [word in leaf.text.split() for leaf in session.leaves] == [True]


def keys_lie_where_they_are_seen(session: Session) -> bool:
    return not any(piece.shift for branch in session.root.request.alive for piece in branch.view)


def answers(session: Session) -> bool:
    return verify(extract_answer(session.root.text, PROBLEM), PROBLEM).correct


LEVELS = (
    Level(
        "One token after another",
        "A model writes one token at a time, and every token is a pass through all of its weights. "
        "Let it write five tokens.",
        ("The command is `decode`, and a number after it says how many tokens.", "`decode 5`"),
        solution=("decode 5",),
        wrong=(("decode 4",),),
        prompt=PLAIN,
    ),
    Level(
        "Three thoughts from one",
        "The prompt holds a plan with three items. Fork: three branches share everything before it, and nothing of "
        "that is computed again or copied.",
        ("A fork says into how many.", "`fork 3`"),
        solution=("fork 3",),
        wrong=(("fork 2",), ("fork 3", "decode 1")),
        most={"prefilled": len(PROMPT.split())},
    ),
    Level(
        "All in one pass",
        "Three branches, five tokens each: fifteen tokens. A pass reads the weights once and can serve all branches.",
        (
            "The prompt took one pass. Six more are allowed: one for the words that the branches begin with, and five.",
            "`fork 3`, then one `decode` for all branches: `decode 5`",
        ),
        solution=("fork 3", "decode 5"),
        wrong=(("fork 3", "branch 1", "decode 5", "branch 2", "decode 5", "branch 3", "decode 5"),),
        most={"passes": 7},
    ),
    Level(
        "The critical path",
        "What takes time is what has to be written one token after the other. Have twenty-four tokens written, with no "
        "more than eight of them in a row.",
        ("Three times eight is twenty-four.", "`fork 3`, then `decode 8`"),
        solution=("fork 3", "decode 8"),
        wrong=(("fork 1", "decode 24"), ("fork 2", "decode 8"), ("fork 3", "decode")),
        alike=False,
        least={"decoded": 24},
        most={"critical": 8},
    ),
    Level(
        "Only one of them",
        "Three branches have begun. Let the second one write five tokens more; the others wait.",
        ("`branch` says on which branch the next commands work.", "`branch 2`, then `decode 5`"),
        solution=("branch 2", "decode 5"),
        wrong=(("decode 5",), ("branch 1", "decode 5")),
        start=("fork 3", "decode 3"),
    ),
    Level(
        "Stitch",
        "The branches are done. Join them so that nothing is computed again and nothing is moved: what they wrote is "
        "read where it lies. Their positions overlap, and the next token comes after the longest branch.",
        ("A join says how. See `help`.", "`join stitch`"),
        solution=("join stitch",),
        wrong=(("join reprefill",), ("join contiguous",)),
        start=THREE,
        most={"recomputed": 0, "bytes": 0},
    ),
    Level(
        "Ordinary text again",
        "In the goal every token attends to all text before it, as if one writer had written it: the mask is one full "
        "triangle. That must be paid for.",
        (
            "No branch saw its siblings when it was written. For one to see another it has to be computed again.",
            "`join reprefill`: only the first branch is kept as it is",
        ),
        solution=("join reprefill",),
        wrong=(("join contiguous",), ("join stitch",)),
        start=THREE,
    ),
    Level(
        "As long as the text",
        "After a stitch the positions overlap. Now let them run on as in the text, but compute nothing again and move "
        "nothing.",
        (
            "With rotary positions it is only the difference that counts: turn the query instead of all the keys.",
            "`join contiguous`",
        ),
        solution=("join contiguous",),
        wrong=(("join stitch",), ("join copied",)),
        start=THREE,
        most={"recomputed": 0, "bytes": 0},
    ),
    Level(
        "Keys that have moved",
        "The same positions, but no query is to be turned from now on: the keys themselves must lie as they are seen. "
        "Still, nothing may be computed again.",
        ("A key can be turned by any amount. It must not be turned where others read it.", "`join copied`"),
        solution=("join copied",),
        wrong=(("join contiguous",), ("join reprefill",)),
        start=THREE,
        most={"recomputed": 0},
        also=("every key lies turned as it is seen", keys_lie_where_they_are_seen),
    ),
    Level(
        "Let the losers go",
        "One branch has hit the target. Free the blocks of the other two without losing it, and without joining it.",
        (
            "What the branches share is held by each of them: it stays as long as one of them reads it.",
            "`drop` lets one branch go. The one that says `hit` is the first.",
            "`drop 2`, then `drop 3`",
        ),
        solution=("drop 2", "drop 3"),
        wrong=(("drop 1", "drop 2"), ("drop 2",), ("join select 1",)),
        start=THREE,
        also=("the branch that is left says hit", says("hit")),
    ),
    Level(
        "A fork in a fork",
        "Two branches, and the first of them forks again. Join the inner two by stitching them, then the outer two so "
        "that the second one reads what the first one came to.",
        (
            "The inner fork is already there: join it first, where it is.",
            "After that, `branch 0` is the whole tree again.",
            "`join stitch`, `branch 0`, `join reprefill`",
        ),
        solution=("join stitch", "branch 0", "join reprefill"),
        wrong=(("join stitch", "branch 0", "join stitch"), ("join reprefill", "branch 0", "join stitch")),
        start=("fork 2", "decode 3", "branch 1", "fork 2", "decode 2"),
    ),
    Level(
        "Go back",
        "Somebody joined by prefilling again, and paid for it. Have the branches stitched instead, as if that had "
        "never happened.",
        ("Spans are never rewritten, so what was there before is there still.", "`undo`, then `join stitch`"),
        solution=("undo", "join stitch"),
        wrong=(("undo",), ("undo", "join contiguous")),
        start=(*THREE, "join reprefill"),
        most={"recomputed": 0, "bytes": 0},
    ),
    Level(
        "The model decides",
        "No plan is given this time. Let the model try, and plan where it fails; follow its plan, join, and let it "
        "conclude. Its answer must be correct.",
        (
            "`decode` without a number goes on until the model has written its last word, here a plan.",
            "Count the items of the plan: one branch for each.",
            "`decode`, `fork 8`, `decode`, `join stitch`, `decode`",
        ),
        solution=("decode", "fork 8", "decode", "join stitch", "decode"),
        wrong=(("decode", "fork 2", "decode", "join stitch", "decode"), ("decode", "fork 8", "decode")),
        prompt=PLAIN,
        alike=False,
        also=("the answer is correct", answers),
    ),
    *BEYOND,
)

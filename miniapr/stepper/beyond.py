"""The last levels: branches that see each other, that see nothing, and that end early (chapters 11 and 12)."""

from __future__ import annotations

from .level import Level
from .tree import PROMPT

BEYOND = (
    Level(
        title="Seen while it is written",
        text="Three branches of a fork know nothing of each other. Let three write four tokens each, so that every "
        "token sees all that the others have written up to then.",
        hints=("A `weave` is a fork whose branches read each other.", "`weave 3`, then `decode 4`"),
        solution=("weave 3", "decode 4"),
        wrong=(("fork 3", "decode 4"), ("weave 3", "branch 1", "decode 4"), ("weave shared 3", "decode 4")),
    ),
    Level(
        title="At the same place",
        text="They see each other again. But now each is to stand where it would stand in a fork: all at the same "
        "positions, as if each were the next word of the text.",
        hints=(
            "A weave gives everyone positions of his own, unless it is told otherwise: slots, shared or contiguous.",
            "`weave shared 3`, then `decode 3`",
        ),
        solution=("weave shared 3", "decode 3"),
        wrong=(("weave 3", "decode 3"), ("fork 3", "decode 3"), ("weave contiguous 3", "decode 3")),
    ),
    Level(
        title="A context of its own",
        text="A child need not see what its parent saw. Begin three that see their own question alone, from 0 on, "
        "and nothing of the plan.",
        hints=("A fork shares everything before it. To `spawn` shares nothing.", "`spawn 3`"),
        solution=("spawn 3",),
        wrong=(("fork 3",), ("weave 3",), ("spawn 2",)),
    ),
    Level(
        title="What the parent hears",
        text="The children are done. Have the parent go on from what they found, and not from how: of each child a "
        "few words.",
        hints=(
            "A child's keys are of another context: they cannot be stitched. Its text could be read again, all of it.",
            "`join message`",
        ),
        solution=("join message",),
        wrong=(("join reprefill",), ("join select 1",)),
        start=("spawn 3", "decode"),
    ),
    Level(
        title="A small window",
        text="Have fifteen tokens written after the plan, and let no branch stand on more than the plan and three "
        "tokens beside it: the model may be one that sees no further.",
        hints=(
            "What a branch stands on is what it can see. Who shares the plan stands on the plan.",
            "Three times five is fifteen: `spawn 3`, then `decode 5`",
        ),
        solution=("spawn 3", "decode 5"),
        wrong=(("fork 3", "decode 5"), ("spawn 1", "decode"), ("weave 3", "decode 5")),
        alike=False,
        least={"decoded": 15},
        most={"context": len(PROMPT.split()) + 3},
    ),
    Level(
        title="The first hit ends it",
        text="Three branches try, and one of them will hit. The moment it does, nobody needs the others: not one "
        "token more is to be written, and what they hold is to be free.",
        hints=(
            "To decode to the end and then to drop is too late: the others have written meanwhile.",
            "`cancel` decodes until one says hit, and lets go of those beside it in the same step.",
        ),
        solution=("cancel",),
        wrong=(("decode", "drop 2", "drop 3"), ("cancel miss",), ("drop 2", "drop 3")),
        start=("fork 3",),
    ),
    Level(
        title="Ask, stop, and go on",
        text="All together: three children in contexts of their own, the first hit ends the others, and the parent "
        "hears of the one that is left.",
        hints=(
            "Three commands, one for each part of the sentence.",
            "`spawn 3`, `cancel`, `join message`",
        ),
        solution=("spawn 3", "cancel", "join message"),
        wrong=(
            ("spawn 3", "decode", "join message"),
            ("fork 3", "cancel", "join stitch"),
            ("spawn 3", "cancel"),
        ),
    ),
)

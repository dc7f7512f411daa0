"""What a learner can say to a session: the commands, how they are read, and what is wrong with them, in words."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engine.branch import Branch, Limits
from ..engine.operations import Settle
from ..methods.grammar import read_plan

if TYPE_CHECKING:
    from .session import Session

HOW = {
    "stitch": "stitch",
    "contiguous": "stitch_contiguous",
    "copied": "stitch_copied",
    "reprefill": "reprefill",
    "select": "select",
}
LONGEST = 100  # tokens of a decode without a number
LIMITS = Limits(tokens=10_000, width=16, depth=4)


@dataclass(frozen=True)
class Command:
    """An example of its use, what it is for, and what it does: given a session and the words after its name, it
    returns what happened. Raises ValueError."""

    example: str
    purpose: str
    run: Callable[[Session, str], str]


def find(name: str) -> Command:
    """A command by its name. Raises ValueError, with the likeliest one that was meant."""
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        raise ValueError(f"no command is called {name!r}; " + (f"`{near[0]}`?" if near else "`help` lists them"))
    return COMMANDS[name]


def fork(session: Session, rest: str) -> str:
    parent = _only(session, "fork")
    if not rest:
        raise ValueError("fork into how many? For example `fork 3`")
    if rest.lstrip("+-").isdecimal():
        seeds = _ideas(session, parent, number(rest, "fork"))
    else:
        control = [session.control.thread] if session.control else []
        seeds = [[*control, *session.encode(words)] for words in rest.split("|")]
        if not all(words.strip() for words in rest.split("|")):
            raise ValueError("a branch has no beginning: put words on both sides of each |")
    children = session.engine.fork(parent, seeds)
    names = listed(child.id for child in children)
    return f"Branches {names} go on from position {parent.position}: nothing was computed or copied for it."


def _ideas(session: Session, parent: Branch, count: int) -> list[list[int]]:
    """How ``count`` branches begin: with the items of the plan that the branch ends with, else with the likeliest next
    tokens, each with another one (greedy twins would all write the same)."""
    if not 1 <= count <= LIMITS.width:
        raise ValueError(f"a fork makes 1 to {LIMITS.width} branches, not {count}")
    control = session.control
    if control and (items := read_plan(parent.history, control, count).items):
        return [[control.thread, *item] for item in items] + [[control.thread]] * (count - len(items))
    logits = session.engine.settle(parent).logits
    assert logits is not None
    special = vars(control).values() if control else ()
    return [[token] for token in logits.argsort(descending=True, stable=True).tolist() if token not in special][:count]


def decode(session: Session, rest: str) -> str:
    count = number(rest, "decode") if rest else LONGEST
    going = [branch for branch in session.leaves if not session.ended(branch)]
    if not going:
        if session.control and all(leaf.history[-1] == session.control.plan_end for leaf in session.leaves):
            raise ValueError("the plan is written: `fork 3` begins with its items")
        raise ValueError("all these branches have ended: join them, or go on with `fork` or `write`")
    cost = session.root.request.cost
    tokens, passes = cost.decoded, cost.steps
    session.engine.decode(going, until=session.control.ends if session.control else (), max_tokens=count)
    session.engine.perform(session.root.request, Settle(going))  # the last tokens too, so that a command makes one span
    tokens, passes = cost.decoded - tokens, cost.steps - passes
    return f"{_many(tokens, 'token')} in {_many(len(going), 'branch', 'es')}, {_many(passes, 'forward pass', 'es')}."


def branch(session: Session, rest: str) -> str:
    session.focus = session.branch(number(rest, "branch")).id
    below = [leaf.id for leaf in session.leaves if leaf.id != session.focus]
    return f"Now at branch {session.focus}" + (f", with {listed(below)} below it." if below else ".")


def join(session: Session, rest: str) -> str:
    words, then, text = rest.partition(" then ")
    name, *names = words.split() or [""]
    how = HOW.get(name, name)
    if how not in HOW.values():
        raise ValueError(f"join how? {listed(HOW, 'or')}" + (f", not {name!r}" if name else ""))
    parent, branches = _to_join(session, [number(one, "join") for one in names])
    if how == "select" and len(branches) > 1:
        raise ValueError(f"select goes on from one branch: `join select {branches[0].id}`")
    tokens = session.encode(text)
    if session.control and not then and how != "select":
        tokens = [session.control.join]
    if not tokens and how != "select":
        raise ValueError(f"the joined branch needs words to go on from: `join {words} then ...`")
    gone = [b.id for b in parent.children]
    joined = session.engine.settle(session.engine.join(parent, branches, how, tokens))
    if session.focus in gone:
        session.focus = joined.id
    cost = joined.join_cost or {}
    return (
        f"Joined {listed(b.id for b in branches)} into branch {joined.id}, which goes on from position "
        f"{joined.joined_at}: {_many(cost['recomputed'], 'token')} computed again, {cost['bytes_moved']:,} bytes moved."
    )


def _to_join(session: Session, ids: list[int]) -> tuple[Branch, list[Branch]]:
    """Those that are named, with their parent; else all branches of the one fork under the focus, or around it."""
    if ids:
        branches = [session.branch(id) for id in ids]
        if branches[0].parent is None:
            raise ValueError(f"branch {ids[0]} is the root: there is nothing to join it to")
        return branches[0].parent, branches
    parents = {leaf.parent.id: leaf.parent for leaf in session.leaves if leaf.parent}
    forks = [parent for parent in parents.values() if not any(child.children for child in parent.children)]
    if not forks:
        raise ValueError("there is nothing to join: `fork 3` first")
    if len(forks) > 1:
        names = listed((parent.id for parent in forks), "or")
        raise ValueError(f"more than one branch has forked: say `branch {forks[0].id}` first, of {names}")
    return forks[0], list(forks[0].children)


def write(session: Session, rest: str) -> str:
    if not rest:
        raise ValueError("write what? For example `write 7 * 3`")
    leaf, tokens = _only(session, "be written to"), session.encode(rest)
    session.engine.settle(session.engine.extend(leaf, tokens))
    return f"{_many(len(tokens), 'token')} written to branch {leaf.id}, and computed in one forward pass."


def drop(session: Session, rest: str) -> str:
    gone = session.branch(number(rest, "drop"))
    if gone.parent is None:
        raise ValueError(f"branch {gone.id} is the root: without it nothing would be left")
    before = session.blocks
    if session.below(session.branch(session.focus), gone.id):
        session.focus = gone.parent.id
    session.engine.release(gone)
    free = _many(before - session.blocks, "block")
    return f"Branch {gone.id} is let go, and with it {free} that no other branch reads."


def _only(session: Session, what: str) -> Branch:
    leaves = session.leaves
    if len(leaves) != 1:
        names = listed(leaf.id for leaf in leaves)
        raise ValueError(f"which branch is to {what}? There are {names}: say `branch {leaves[0].id}` first")
    return leaves[0]


def undo(session: Session, rest: str) -> str:
    return session.undo(_count(session, rest, "undo"))


def redo(session: Session, rest: str) -> str:
    return session.redo(_count(session, rest, "redo"))


def _count(session: Session, rest: str, name: str) -> int:
    count = len(session.history) + len(session.future) if rest == "all" else number(rest or "1", name)
    return max(count, 1)


def help(session: Session, rest: str) -> str:
    return "\n".join(f"`{command.example}`: {command.purpose}" for command in COMMANDS.values())


def offers(session: Session) -> list[str]:
    """Commands that can be given now: what a page puts on its buttons."""
    leaves, found = session.leaves, []
    if len(leaves) == 1:
        found += ["fork 2", "fork 3"]
    if not all(session.ended(leaf) for leaf in leaves):
        found += ["decode 1", "decode 5", "decode"]
    try:
        _, branches = _to_join(session, [])
    except ValueError:
        branches = []
    if branches:
        found += [f"join {how}" for how in HOW if how != "select"]
    if len(leaves) == 1 and leaves[0].parent:
        found += [f"join select {leaves[0].id}", f"drop {leaves[0].id}"]
    found += [f"branch {branch.id}" for branch in session.root.request.alive if branch.id != session.focus]
    return found + ["undo"] * bool(session.history) + ["redo"] * bool(session.future)


def number(text: str, command: str) -> int:
    """A small whole number. Raises ValueError for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ValueError(f"`{command}` takes a whole number, as in `{COMMANDS[command].example}`, not {text!r}")
    return int(text)


def listed(names: Iterable[object], word: str = "and") -> str:
    """1, 2 and 3"""
    *most, last = map(str, names)
    return f"{', '.join(most)} {word} {last}" if most else last


def _many(count: int, what: str, ending: str = "s") -> str:
    """1 token, 2 tokens"""
    return f"{count:,} {what}" + ("" if count == 1 else ending)


COMMANDS = {
    "fork": Command("fork 3", "split the branch in three; or say how each begins: `fork 7 * 3 | 8 - 7`", fork),
    "decode": Command("decode 5", "five tokens in every branch, in one batch; no number: until each ends", decode),
    "branch": Command("branch 2", "work on branch 2 and what is below it; `branch 0` is the whole tree", branch),
    "join": Command("join stitch", f"make branches one again: {listed(HOW, 'or')}; `join select 2`", join),
    "write": Command("write 7 * 3", "append words of your own to the branch", write),
    "drop": Command("drop 2", "let branch 2 go", drop),
    "undo": Command("undo", "go back one command; also `undo 3`, `undo all`", undo),
    "redo": Command("redo", "go forward again; also `redo 3`, `redo all`", redo),
    "help": Command("help", "this list", help),
}

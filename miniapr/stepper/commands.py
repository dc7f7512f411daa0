"""What a learner can say to a tree: commands that change it, how they are read, what is wrong with them, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine.branch import Branch
from ..engine.joins import message
from ..engine.operations import Settle
from .beginnings import number, only, planned, questions, thoughts, voices, word_that_ends
from .tree import Tree, listed

HOW = {
    "stitch": "stitch",
    "contiguous": "stitch_contiguous",
    "copied": "stitch_copied",
    "reprefill": "reprefill",
    "select": "select",
    "message": "message",
}
LONGEST = 100  # tokens of a decode without a number
WOVEN = ("slots", "shared", "contiguous")  # positions in a weave, the first unless another is said
SLOT = 64  # positions that each has of its own, as the workers of the model that ships were taught


@dataclass(frozen=True)
class Command:
    """An example of its use, what it is for, and what it does: given a tree and the words after its name, it
    returns what happened. Raises ValueError."""

    example: str
    purpose: str
    run: Callable[[Any, str], str]


def fork(tree: Tree, rest: str) -> str:
    parent = only(tree, "fork")
    names = listed(child.id for child in tree.engine.fork(parent, thoughts(tree, parent, rest)))
    return f"Branches {names} go on from position {parent.position}: nothing was computed or copied for it."


def weave(tree: Tree, rest: str) -> str:
    parent, (first, _, others) = only(tree, "fork into a weave"), rest.partition(" ")
    positions, rest = (first, others) if first in WOVEN else (WOVEN[0], rest)
    children = tree.engine.fork(parent, voices(tree, parent, rest))
    tree.engine.weave(children, positions, SLOT if positions == "slots" else None)
    names = listed(child.id for child in children)
    return f"Branches {names} go on from position {parent.position}, and see each other's words as they are written."


def spawn(tree: Tree, rest: str) -> str:
    parent = only(tree, "spawn")
    names = listed(child.id for child in tree.engine.fork(parent, questions(tree, parent, rest), keep=0))
    return f"Branches {names} begin at position 0: each sees its own words, and none of those before."


def decode(tree: Tree, rest: str) -> str:
    count = number(rest, "decode 5") if rest else LONGEST
    going = tree.going
    if not going:
        if tree.control and all(leaf.history[-1] == tree.control.plan_end for leaf in tree.leaves):
            raise ValueError("the plan is written: `fork 3` begins with its items")
        raise ValueError("all these branches have ended: join them, or go on with `fork` or `write`")
    cost = tree.root.request.cost
    tokens, passes = cost.decoded, cost.steps
    tree.engine.decode(going, until=tree.control.ends if tree.control else (), max_tokens=count)
    tree.engine.perform(tree.root.request, Settle(going))  # the last tokens too, so that a command makes one span
    tokens, passes = cost.decoded - tokens, cost.steps - passes
    return f"{_many(tokens, 'token')} in {_many(len(going), 'branch', 'es')}, {_many(passes, 'forward pass', 'es')}."


def cancel(tree: Tree, rest: str) -> str:
    word, going = word_that_ends(tree, rest), tree.going
    if not going:
        raise ValueError("all these branches have ended: `cancel` is for those that still write")
    cost, ends = tree.root.request.cost, tree.control.ends if tree.control else ()
    tokens, won = cost.decoded, list[Branch]()
    for _ in range(LONGEST):
        tree.engine.decode(going, until=ends, max_tokens=1)
        won = [branch for branch in going if branch.history[-1] == word]
        going = [branch for branch in going if not tree.ended(branch)]
        if won or not going:
            break
    tree.engine.perform(tree.root.request, Settle(won[:1] or tree.leaves))
    said, tokens = tree.engine.tokenizer.decode([word]), cost.decoded - tokens
    if not won:
        return f"{_many(tokens, 'token')}, and no branch said `{said}`."
    beside = tree.beside(won[0])
    for branch in beside:
        tree.engine.release(branch)
    gone = f"{listed(branch.id for branch in beside)} let go in the same step" if beside else "nobody was beside it"
    return f"Branch {won[0].id} said `{said}` after {_many(tokens, 'token')} of all: {gone}."


def branch(tree: Tree, rest: str) -> str:
    tree.focus = tree.branch(number(rest, "branch 2")).id
    below = [leaf.id for leaf in tree.leaves if leaf.id != tree.focus]
    return f"Now at branch {tree.focus}" + (f", with {listed(below)} below it." if below else ".")


def join(tree: Tree, rest: str) -> str:
    words, then, text = rest.partition(" then ")
    name, *names = words.split() or [""]
    how = HOW.get(name, name)
    if how not in HOW.values():
        raise ValueError(f"join how? {listed(HOW, 'or')}" + (f", not {name!r}" if name else ""))
    parent, branches = _to_join(tree, [number(one, "join select 2") for one in names])
    if how == "select" and len(branches) > 1:
        raise ValueError(f"select goes on from one branch: `join select {branches[0].id}`")
    tokens = tree.encode(text)
    if tree.control and not then and how != "select":
        tokens = [tree.control.join]
    rule = how if how != "message" else message([token for one in branches for token in tree.message(one)])
    if not tokens and how not in ("select", "message"):
        raise ValueError(f"the joined branch needs words to go on from: `join {words} then ...`")
    gone = [b.id for b in parent.children]
    joined = tree.engine.settle(tree.engine.join(parent, branches, rule, tokens))
    if tree.focus in gone:
        tree.focus = joined.id
    cost = joined.join_cost or {}
    return (
        f"Joined {listed(b.id for b in branches)} into branch {joined.id}, which goes on from position "
        f"{joined.joined_at}: {_many(cost['recomputed'], 'token')} computed again, {cost['bytes_moved']:,} bytes moved."
    )


def _to_join(tree: Tree, ids: list[int]) -> tuple[Branch, list[Branch]]:
    """Those that are named, with their parent; else all branches of the one fork under the focus, or around it."""
    if ids:
        branches = [tree.branch(id) for id in ids]
        if branches[0].parent is None:
            raise ValueError(f"branch {ids[0]} is the root: there is nothing to join it to")
        return branches[0].parent, branches
    parents = {leaf.parent.id: leaf.parent for leaf in tree.leaves if leaf.parent}
    forks = [parent for parent in parents.values() if not any(child.children for child in parent.children)]
    if not forks:
        raise ValueError("there is nothing to join: `fork 3` first")
    if len(forks) > 1:
        names = listed((parent.id for parent in forks), "or")
        raise ValueError(f"more than one branch has forked: say `branch {forks[0].id}` first, of {names}")
    return forks[0], list(forks[0].children)


def write(tree: Tree, rest: str) -> str:
    if not rest:
        raise ValueError("write what? For example `write b*c 21`")
    leaf, tokens = only(tree, "be written to"), tree.encode(rest)
    tree.engine.settle(tree.engine.extend(leaf, tokens))
    return f"{_many(len(tokens), 'token')} written to branch {leaf.id}, and computed in one forward pass."


def drop(tree: Tree, rest: str) -> str:
    gone = tree.branch(number(rest, "drop 2"))
    if gone.parent is None:
        raise ValueError(f"branch {gone.id} is the root: without it nothing would be left")
    before = tree.blocks
    if tree.below(tree.branch(tree.focus), gone.id):
        tree.focus = gone.parent.id
    tree.engine.release(gone)
    free = _many(before - tree.blocks, "block")
    return f"Branch {gone.id} is let go, and with it {free} that no other branch reads."


def offers(tree: Tree) -> list[str]:
    """Changes that can be made now."""
    leaves, found = tree.leaves, []
    if len(leaves) == 1 and not leaves[0].span.weave:
        found += ["fork 2", "fork 3", "weave 2"] + ["spawn 2"] * bool(planned(tree, leaves[0], 2))
    if tree.going:
        found += ["decode 1", "decode 5", "decode"] + ["cancel"] * (len(leaves) > 1 and tree.hit is not None)
    try:
        _, branches = _to_join(tree, [])
    except ValueError:
        branches = []
    if branches:
        alone = any(not branch.first for branch in branches)  # in contexts of their own
        found += [f"join {how}" for how in (("reprefill", "message") if alone else HOW) if how != "select"]
    if len(leaves) == 1 and leaves[0].parent:
        found += [f"join select {leaves[0].id}", f"drop {leaves[0].id}"]
    found += [f"branch {branch.id}" for branch in tree.root.request.alive if branch.id != tree.focus]
    return found


def _many(count: int, what: str, ending: str = "s") -> str:
    """1 token, 2 tokens"""
    return f"{count:,} {what}" + ("" if count == 1 else ending)


CHANGES = {
    "fork": Command("fork 3", "split the branch in three; or say how each begins: `fork b*c | a-b`", fork),
    "weave": Command(
        "weave 2", f"the same, and they see each other write; also `weave {WOVEN[2]} 2`, `weave a | b`", weave
    ),
    "spawn": Command(
        "spawn 2", "children with contexts of their own, for the items of a plan; or `spawn a | b`", spawn
    ),
    "decode": Command("decode 5", "five tokens in every branch, in one batch; no number: until each ends", decode),
    "cancel": Command(
        "cancel", "decode until one branch says hit (or `cancel miss`), and let those beside it go", cancel
    ),
    "branch": Command("branch 2", "work on branch 2 and what is below it; `branch 0` is the whole tree", branch),
    "join": Command("join stitch", f"make branches one again: {listed(HOW, 'or')}; `join select 2`", join),
    "write": Command("write b*c 21", "append words of your own to the branch", write),
    "drop": Command("drop 2", "let branch 2 go", drop),
}

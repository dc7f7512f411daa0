"""How branches begin: with words that were given, the items of a plan, or what the model thinks likeliest; and which
branch a command means."""

from __future__ import annotations

from ..engine.branch import Branch
from ..methods.grammar import read_plan
from .tree import LIMITS, Tree, listed


def thoughts(tree: Tree, parent: Branch, rest: str) -> list[list[int]]:
    """Of a fork: so many beginnings, or words of one's own with bars between them."""
    if not counted(rest, "fork"):
        return [[*_thread(tree), *words] for words in _words(tree, rest)]
    count = width(rest, "fork 3")
    if items := planned(tree, parent, count):
        return [[*_thread(tree), *item] for item in items] + [_thread(tree)] * (count - len(items))
    return _likeliest(tree, parent, count)


def voices(tree: Tree, parent: Branch, rest: str) -> list[list[int]]:
    """Of a weave: who sees each other is told apart by a number, where the model was taught to be."""
    if not counted(rest, "weave"):
        return [[*_thread(tree), *words] for words in _words(tree, rest)]
    count = width(rest, "weave 2")
    if tree.control is None:
        return _likeliest(tree, parent, count)
    return [[*_thread(tree), *tree.encode(str(name))] for name in range(1, count + 1)]


def questions(tree: Tree, parent: Branch, rest: str) -> list[list[int]]:
    """Of children that are given nothing: the parent's question, asked in the role of a child if the model has one, and
    an item of the plan, or words of one's own."""
    question = _question(tree)
    if not counted(rest, "spawn"):
        return [[*question, *words] for words in _words(tree, rest)]
    count = width(rest, "spawn 2")
    items = planned(tree, parent, count)
    if not question or len(items) < count:
        raise ValueError(f"{len(items)} of {count} children have a question: say them yourself, `spawn a | b`")
    return [[*question, *item] for item in items]


def planned(tree: Tree, parent: Branch, count: int) -> tuple[tuple[int, ...], ...]:
    """The items of the plan that the branch ends with, ``count`` at most."""
    return read_plan(parent.history, tree.control, count).items if tree.control else ()


def counted(rest: str, name: str) -> bool:
    """Whether a number of branches is asked for. Raises ValueError for nothing at all."""
    if not rest:
        raise ValueError(f"{name} into how many? For example `{name} 3`")
    return rest.lstrip("+-").isdecimal()


def width(rest: str, example: str) -> int:
    count = number(rest, example)
    if not 1 <= count <= LIMITS.width:
        raise ValueError(f"a fork makes 1 to {LIMITS.width} branches, not {count}")
    return count


def number(text: str, example: str) -> int:
    """A small whole number. Raises ValueError for anything else, with an example of the command's use."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ValueError(f"`{example.split(maxsplit=1)[0]}` takes a whole number, as in `{example}`, not {text!r}")
    return int(text)


def word_that_ends(tree: Tree, rest: str) -> int:
    """The one token that is waited for. Raises ValueError where it is none."""
    tokens = tree.encode(rest) if rest else [] if tree.hit is None else [tree.hit]
    if len(tokens) != 1:
        raise ValueError(f"`cancel` waits for one word, as in `cancel hit`, not {rest!r}")
    return tokens[0]


def only(tree: Tree, what: str) -> Branch:
    """The one branch that is meant. Raises ValueError if there are several."""
    leaves = tree.leaves
    if len(leaves) != 1:
        names = listed(leaf.id for leaf in leaves)
        raise ValueError(f"which branch is to {what}? There are {names}: say `branch {leaves[0].id}` first")
    return leaves[0]


def _thread(tree: Tree) -> list[int]:
    return [tree.control.thread] if tree.control else []


def _words(tree: Tree, rest: str) -> list[list[int]]:
    parts = rest.split("|")
    if not all(words.strip() for words in parts):
        raise ValueError("a branch has no beginning: put words on both sides of each |")
    return [tree.encode(words) for words in parts]


def _likeliest(tree: Tree, parent: Branch, count: int) -> list[list[int]]:
    """The likeliest next tokens, for each branch another (greedy twins would all write the same)."""
    logits = tree.engine.settle(parent).logits
    assert logits is not None
    special = vars(tree.control).values() if tree.control else ()
    return [[token] for token in logits.argsort(descending=True, stable=True).tolist() if token not in special][:count]


def _question(tree: Tree) -> list[int]:
    """The prompt up to its plan, its role exchanged for a child's."""
    if tree.control is None or tree.control.child is None:
        return []
    asked = tree.root.history[: tree.root.first] if not tree.root.children else tree.root.history
    end = asked.index(tree.control.plan) if tree.control.plan in asked else tree.root.first
    return [asked[0], tree.control.child, *asked[2:end]]

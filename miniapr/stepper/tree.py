"""The tree that commands change, as it is now: its branches, the one in focus, what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..engine.branch import Branch, Limits
from ..engine.engine import Engine
from ..engine.sampling import Sampling
from ..methods.grammar import Control
from ..model.bundle import Bundle
from ..tasks.vocabulary import HIT, MISS

# A short problem with a plan that the shipped model can follow: its first item, 7 * 3, leads to the target.
PROMPT = "<bos> <adaptive> 8 7 3 -> 29 : <plan> b*c a-b a*b </plan>"
LIMITS = Limits(tokens=10_000, width=16, depth=4)


class Tree:
    """One tree of an engine. Never does: touch another tree of it.

    source   a bundle (then it makes a small engine of its own) or an engine with ``record=True``
    prompt   text or token ids; None: a small problem that the shipped model can solve
    begun    how many events the engine had before
    focus    the branch that commands work on, with all below it
    control  the model's control tokens, if it has any: then branches begin and end as the model was taught
    Raises ValueError for a prompt that the model cannot read.
    """

    def __init__(
        self,
        source: Bundle | Engine,
        prompt: str | Sequence[int] | None = None,
        sampling: Sampling | None = None,
        control: Control | None = None,
    ) -> None:
        self.bundle = source if isinstance(source, Bundle) else None
        if isinstance(source, Bundle):
            control = control or (Control.of(source.tokenizer, source.control) if source.control else None)
            model, tokenizer = source.model, source.tokenizer
            source = Engine(model, tokenizer, num_blocks=96, block_size=4, reuse_prefixes=False, record=True)
        if not source.record:
            raise ValueError("a session needs an engine with record=True: what is drawn is made of its events")
        self.engine, self.control = source, control
        tokens = source.tokenizer.ids(PROMPT.split()) if prompt is None else prompt
        self.begun = len(source.events)
        self.root = source.start(tokens, replace(sampling or Sampling(), logprobs=5), LIMITS)
        source.settle(self.root)
        self.focus = self.root.id

    @property
    def leaves(self) -> list[Branch]:
        """The branches at or below the focus that have not forked, in order of birth."""
        return [one for one in self.root.request.alive if not one.children and self.below(one, self.focus)]

    @property
    def going(self) -> list[Branch]:
        """Those of them that still write."""
        return [leaf for leaf in self.leaves if not self.ended(leaf)]

    @property
    def hit(self) -> int | None:
        """The word by which a model says that it has found what was asked for; None: it has none."""
        return self._word(HIT)

    def message(self, branch: Branch) -> list[int]:
        """What a parent hears of a child: what it wrote from its last hit on, or that it missed; where a model has no
        such words, all of it."""
        said = [token.id for token in branch.generated]
        said = said[:-1] if said and self.ended(branch) else said
        hit, miss = self.hit, self._word(MISS)
        if hit is None or miss is None:
            return said
        hits = [i for i, token in enumerate(said) if token == hit]
        return said[hits[-1] :] if hits else [miss]

    def _word(self, word: str) -> int | None:
        """A word of a model that has control tokens, if it is one token."""
        try:
            found = self.encode(word) if self.control else []
        except ValueError:
            return None
        return found[0] if len(found) == 1 else None

    def beside(self, branch: Branch) -> list[Branch]:
        """What lies below the focus, and neither above nor below this branch: the topmost of each."""
        found: list[Branch] = []
        while branch.id != self.focus and branch.parent:
            found = [*(child for child in branch.parent.children if child is not branch), *found]
            branch = branch.parent
        return found

    def below(self, branch: Branch, id: int) -> bool:
        """Whether it is branch ``id`` or comes from it."""
        return branch.id == id or (branch.parent is not None and self.below(branch.parent, id))

    def ended(self, branch: Branch) -> bool:
        """Whether the model has written its last word: an end of thread, of plan or of text."""
        return bool(self.control and branch.history[-1] in self.control.ends)

    def branch(self, id: int) -> Branch:
        """A live branch by its number. Raises ValueError if there is none."""
        alive = {branch.id: branch for branch in self.root.request.alive}
        if id not in alive:
            raise ValueError(f"there is no branch {id}; there are {listed(alive)}")
        return alive[id]

    def encode(self, text: str) -> list[int]:
        return list(self.engine.tokenizer.encode(text))

    @property
    def critical(self) -> int:
        """Tokens that had to be decoded one after the other to get here."""
        return max(branch.critical for branch in self.root.request.alive)

    @property
    def blocks(self) -> int:
        """Blocks that the branches hold. What only the past holds does not count."""
        alive = self.root.request.alive
        pieces = [piece for branch in alive for piece in (*branch.view, branch.span.whole())]
        return len({block for piece in pieces for block in self.engine.kv.blocks(piece)})


def listed(names: Iterable[object], word: str = "and") -> str:
    """1, 2 and 3"""
    *most, last = map(str, names)
    return f"{', '.join(most)} {word} {last}" if most else last

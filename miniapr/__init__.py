"""miniapr: a small engine for adaptive parallel reasoning, to learn from.

    import miniapr

    bundle = miniapr.load()                                    # the model that ships with the package
    engine = miniapr.Engine(bundle.model, bundle.tokenizer)
    root = engine.start("8 7 3 -> 29 :")
    left, right = engine.fork(root, 2)

Reading order: kv/span.py, kv/unroll.py, engine/joins.py, ops/reference.py, model/decoder.py, kv/cache.py,
engine/engine.py, methods/adaptive.py.
"""

from .engine.branch import Branch, Completion, Limits
from .engine.engine import Engine
from .engine.operations import All, Decode, Extend, Fork, Join, Release, Settle, Share, Start, Weave
from .engine.sampling import Sampling
from .kv.span import Piece, Span, View
from .kv.unroll import unroll
from .methods.adaptive import adaptive
from .methods.grammar import Control, read_plan
from .model.bundle import Bundle, load

__version__ = "0.1.0"

__all__ = [
    "All",
    "Branch",
    "Bundle",
    "Completion",
    "Control",
    "Decode",
    "Engine",
    "Extend",
    "Fork",
    "Join",
    "Limits",
    "Piece",
    "Release",
    "Sampling",
    "Settle",
    "Share",
    "Span",
    "Start",
    "View",
    "Weave",
    "adaptive",
    "load",
    "read_plan",
    "unroll",
]

"""All methods by name, in the order of the documentation."""

from __future__ import annotations

from .apar import apar
from .async_think import asyncthink
from .best_of_n import best_of_n
from .blocks import multiverse, npr, parallel_r1, threadweaver
from .calls import apr, recursive
from .deepconf import deepconf, deepconf_online
from .early_cancel import early_cancel
from .method import Method
from .parathinker import parathinker
from .search.graph_of_thoughts import graph_of_thoughts
from .search.mcts import mcts
from .search.tree_of_thoughts import tree_of_thoughts, tree_of_thoughts_dfs
from .self_consistency import budget_aware, self_consistency
from .sequential import sequential
from .skeleton_of_thought import skeleton_joined, skeleton_of_thought
from .weaves import group_think, hogwild

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        sequential,
        self_consistency,
        best_of_n,
        early_cancel,
        budget_aware,
        deepconf,
        deepconf_online,
        skeleton_of_thought,
        skeleton_joined,
        tree_of_thoughts,
        tree_of_thoughts_dfs,
        graph_of_thoughts,
        mcts,
        parathinker,
        group_think,
        hogwild,
        multiverse,
        threadweaver,
        parallel_r1,
        npr,
        apr,
        recursive,
        apar,
        asyncthink,
    )
}
BASELINES = ("sequential", "self-consistency", "best-of-n")

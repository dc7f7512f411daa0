"""My first method: two tries, and the first that has an answer."""

from miniapr.engine.operations import Fork, Start
from miniapr.methods.budget import Spend
from miniapr.methods.judges import best
from miniapr.methods.method import method


@method("two-tries", forks="always, once", sees="the prompt", joins="select", needs=("chain",))
def two_tries(problem, player, budget, width=2):
    """Two tries side by side; the first that has an answer wins."""
    root = yield Start(player["chain"].ask(problem), player.sampling)
    tries = yield Fork(root, width)
    yield Spend(tries, player["chain"], budget)
    return best([player.candidate(problem, branch) for branch in tries], "none")

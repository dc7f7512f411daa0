"""My first reward: right answers, and nothing else."""


def reward(rollout, step):
    """What a rollout is paid."""
    return float(rollout.correct)

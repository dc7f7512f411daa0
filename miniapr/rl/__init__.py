"""Learning from what was sampled: rollouts as training rows, rewards, advantages, the update, the loop."""

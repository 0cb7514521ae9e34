"""The data: the rollouts of one step, and a recorded run."""

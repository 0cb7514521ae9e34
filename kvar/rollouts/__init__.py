"""The data: rollouts of one step, and recorded runs."""

"""Tasks: prompts, and rewards for answers."""

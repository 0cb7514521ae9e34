"""What a policy learns: prompts, and rewards for answers."""

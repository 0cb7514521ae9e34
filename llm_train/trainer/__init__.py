"""TRL's GRPO trainer with a baseline of `kvar` in place of the group mean."""

"""TRL's GRPO trainer with a baseline of `kvar`."""

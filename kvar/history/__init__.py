"""What is remembered of each prompt."""

"""Synthetic bandits with known value and gradient, and studies over them."""

"""Kernel-weighted sums at every point, exact and fast."""

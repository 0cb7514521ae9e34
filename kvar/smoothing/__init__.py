"""Kernel regression on one axis: estimates, bandwidths, criteria."""

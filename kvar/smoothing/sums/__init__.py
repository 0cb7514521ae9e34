"""Kernel sums over the neighbours of every point.

`neighbour_sums` has the exact fast sums of the compact kernels and picks the way for the others: `direct` neighbour by
neighbour or by recursion, `fft` on a grid. `compiled` is the same under numba, where `engine` finds it.
"""

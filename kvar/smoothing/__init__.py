"""Kernel regression on one axis.

`regression` has the estimator, on the fits of `local_fits` to the sorted points of `design` by the kernel sums of
`sums/`. `bandwidth` chooses its window: `criteria` score the candidates of `grid` for the data and the estimator of
`problem`, two of them from the pilot fits of `pilot`. `validation` checks the data for both.
"""

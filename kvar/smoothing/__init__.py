"""Kernel regression on one axis.

`regression` has the estimator, `inference` its errors, and `fitted_smoother` the data under both: fits of `local_fits`
and `local_quadratics` to the sorted points of `design`, by the kernel sums of `sums/`, with the weights of
`robust_weights` if wanted. `fit_picture` draws them. `bandwidth` chooses the window: `criteria` score the candidates of
`grid` for the data and the estimator of `selection_problem`, two of them from the pilot fits of `pilot`. `data_checks`
checks the data for both.
"""

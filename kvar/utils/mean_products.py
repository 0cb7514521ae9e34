"""Squared lengths of expectations, without the noise of the vectors."""

from __future__ import annotations

import numpy as np

__all__ = ["mean_products"]


def mean_products(vectors: np.ndarray, cells: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean inner product of two different vectors of each cell.

    Parameters
    ----------
    vectors : ndarray, shape (n, d)
        Such as gradients of single rollouts.
    cells : ndarray of int, shape (n,)
        Number of the cell of each vector, from 0.
    counts : ndarray, shape (c,)
        Number of vectors that count in each cell; the others are zero.

    Returns
    -------
    products : ndarray, shape (c,)
        An unbiased estimate of the squared length of the expectation; NaN for cells with fewer than two vectors. Cost
        O(n d).
    totals : ndarray, shape (c, d)
        Sum of the vectors of each cell.

    Examples
    --------
    >>> import numpy as np
    >>> from kvar.utils.mean_products import mean_products
    >>> mean_products(np.array([[1.0, 0.0], [2.0, 1.0], [5.0, 5.0]]), np.array([0, 0, 1]), np.array([2, 1]))[0]
    array([ 2., nan])
    """
    total = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(total, cells, vectors)
    squares = np.bincount(cells, weights=(vectors**2).sum(axis=1), minlength=len(counts))
    pairs = counts * (counts - 1)
    products = (total**2).sum(axis=1) - squares
    return np.divide(products, pairs, out=np.full(len(counts), np.nan), where=pairs > 0), total

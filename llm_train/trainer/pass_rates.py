"""pass@k of a policy, from samples by the unbiased estimator or from exact values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["exact_pass_rates", "pass_at_k", "sampled_pass_rates"]


def pass_at_k(n: int, passed, k: int):
    """Estimate the probability that at least one of k samples passes, from n samples of which `passed` did.

    ``1 - C(n - passed, k) / C(n, k)`` has the expectation ``1 - (1 - p)^k`` exactly (Chen et al. 2021, arXiv
    2107.03374).

    Examples
    --------
    >>> pass_at_k(4, [0, 1, 2, 4], 2).round(4)
    array([0.    , 0.5   , 0.8333, 1.    ])
    """
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs at least {k} samples per prompt, got {n}: sample more or lower k")
    failed = n - np.asarray(passed, dtype=np.float64)
    # The ratio of binomials is a product of k factors of at most 1; it is 0 if fewer than k samples failed.
    drawn = np.arange(k)
    return 1.0 - np.prod(np.clip(failed[..., None] - drawn, 0.0, None) / (n - drawn), axis=-1)


def sampled_pass_rates(
    rewards: Mapping[object, Sequence[float]], ks: Sequence[int], threshold: float
) -> dict[str, float]:
    """Mean of pass@k over prompts, each with equally many rewards; a reward of NaN does not pass."""
    table = np.array(list(rewards.values()), dtype=np.float64)
    passed = (table >= threshold).sum(axis=1)
    return {f"pass@{k}": float(pass_at_k(table.shape[1], passed, k).mean()) for k in ks}


def exact_pass_rates(values: Sequence[float], ks: Sequence[int]) -> dict[str, float]:
    """Mean of pass@k over prompts whose probabilities of passing are `values`."""
    missed = 1.0 - np.asarray(values, dtype=np.float64)
    return {f"pass@{k}": float((1.0 - missed**k).mean()) for k in ks}

"""James-Stein shrinkage of each group's mean to the mean of the other groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.leave_one_out import LeaveOneOut
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["JamesStein"]


@dataclass
class JamesStein(Baseline):
    """James-Stein shrinkage that leaves out the rollout in its group, and the group among groups (arXiv 2511.03710).

    For n groups of m rewards with means mu_k, the value of rollout j of group i is::

        b_i^j = (1 - lambda_i) mu_i^{-j} + lambda_i mubar_{-i},   lambda_i = (n - 1) / n * v_{-i} / (v_{-i} + s_{-i})

    where mu_i^{-j} is the leave-one-out mean of the group, mubar_{-i} the mean of the other groups' means, s_{-i} their
    mean squared deviation from it, and v_{-i} the mean over the other groups of their variance divided by m. There is
    no history. The paper assumes groups of one size of at least two. In other cases we define:

    - uneven groups: each mean has weight one and a noise by its own size; groups without rewards are absent, and
      v_{-i} averages over the groups of at least two rewards;
    - no such group, so that v_{-i} is unknown, or v_{-i} = s_{-i} = 0: there is no shrinkage;
    - a rollout alone in its group: the value is mubar_{-i}, so that groups of one have the mean of all others;
    - one group: the value is its leave-one-out mean; for a single rollout it is 0.
    """

    name: ClassVar[str] = "james-stein"

    def values(self, batch: Batch) -> np.ndarray:
        """Shrunken leave-one-out means."""
        counts = batch.counts
        present, noisy = counts > 0, counts > 1
        n_groups = present.sum()
        n_others = n_groups - present
        means = np.where(present, batch.means, 0.0)
        # Deviations from the mean of means: a large common level would cancel the digits of s.
        centre = means.sum() / max(n_groups, 1)
        offsets = np.where(present, means - centre, 0.0)
        mean_offset = sums_of_others(offsets) / np.maximum(n_others, 1)
        mean_square = sums_of_others(offsets**2) / np.maximum(n_others, 1)
        squared_deviation = np.maximum(mean_square - mean_offset**2, 0.0)
        noise = np.where(noisy, batch.variances / np.maximum(counts, 1), 0.0)
        noise = sums_of_others(noise) / np.maximum(sums_of_others(noisy.astype(float)), 1)
        total = noise + squared_deviation
        weight = np.divide(noise, total, out=np.zeros(total.shape), where=total > 0) * n_others / max(n_groups, 1)

        others = batch.spread(np.where(n_others > 0, centre + mean_offset, 0.0))
        own = LeaveOneOut().values(batch)
        return np.where(batch.n_others == 0, others, own + batch.spread(weight) * (others - own))

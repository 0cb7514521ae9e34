"""Shrinkage of each group's mean toward that of the others, by how noisy the means are beside their spread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kvar.baselines.base import Baseline
from kvar.baselines.group import LeaveOneOut, group_means, group_variances
from kvar.rollouts.batch import Batch, sums_of_others

__all__ = ["JamesStein"]


@dataclass
class JamesStein(Baseline):
    """James-Stein shrinkage with two levels of leaving out (arXiv 2511.03710).

    For n groups of m rewards with means mu_k, the value of rollout j of group i is::

        b_i^j = (1 - lambda_i) mu_i^{-j} + lambda_i mubar_{-i},   lambda_i = (n - 1) / n * v_{-i} / (v_{-i} + s_{-i})

    where mu_i^{-j} is the mean of the others in the group, mubar_{-i} the mean of the other groups' means, s_{-i} the
    mean square of their spread around it, and v_{-i} the mean over the other groups of their variance divided by m.
    Nothing is remembered. The paper has groups of one size of two or more; beyond that, our reading is:

    - in uneven groups, each mean counts once and has the noise of its own size, groups without a reward are absent, and
      v_{-i} averages over the groups of two or more;
    - where v_{-i} is unknown because there are no such groups, or v_{-i} = s_{-i} = 0, nothing is shrunk;
    - a rollout without others in its group has the value mubar_{-i}, so groups of one have the mean of all others;
    - with one group alone the value is the mean of the others in it, and a single rollout has value 0.
    """

    name: ClassVar[str] = "james-stein"

    def values(self, batch: Batch) -> np.ndarray:
        """Shrunken means of the others."""
        counts = batch.counts[:, 0]
        present, noisy = counts > 0, counts > 1
        n_groups = present.sum()
        n_others = n_groups - present
        means = np.where(present, group_means(batch)[:, 0], 0.0)
        # Around the mean of means, so that a common level does not wipe out the digits of the spread.
        centre = means.sum() / max(n_groups, 1)
        offsets = np.where(present, means - centre, 0.0)
        mean_offset = sums_of_others(offsets) / np.maximum(n_others, 1)
        mean_square = sums_of_others(offsets**2) / np.maximum(n_others, 1)
        spread = np.maximum(mean_square - mean_offset**2, 0.0)
        noise = np.where(noisy, group_variances(batch)[:, 0] / np.maximum(counts, 1), 0.0)
        noise = sums_of_others(noise) / np.maximum(sums_of_others(noisy.astype(float)), 1)
        total = noise + spread
        weight = np.divide(noise, total, out=np.zeros(total.shape), where=total > 0) * n_others / max(n_groups, 1)

        others = (np.where(n_others > 0, centre + mean_offset, 0.0))[:, None]
        own = LeaveOneOut().values(batch)
        alone = batch.counts - batch.scored == 0
        return np.where(alone, others, own + weight[:, None] * (others - own))

"""Differences between runs on the same prompts, with an error over prompts and, with several seeds, over runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.intervals import Interval

__all__ = ["RunEffects"]


@dataclass(frozen=True)
class RunEffects:
    """Least squares fit of run effects and prompt effects to the mean rewards of prompts in runs.

    The model is ``mean(r, p) = effect(r) + prompt(p) + error``. Every prompt has the same weight, and a prompt that
    only one run has seen says nothing. Where all runs have all prompts, effects differ as the means do.
    """

    effects: np.ndarray  # shape (R,): Effects of the runs, with mean 0
    level: float  # Mean reward of a prompt over the runs
    n_prompts: int  # Prompts that two runs or more have seen
    _inverse: np.ndarray
    _residuals: np.ndarray
    _here: np.ndarray

    @classmethod
    def fit(cls, means: np.ndarray) -> RunEffects | None:
        """Fit to means, shape (R, P), NaN where a run lacks a prompt; None where prompts do not link all runs."""
        means = means[:, (~np.isnan(means)).sum(axis=0) > 1]
        here = ~np.isnan(means)
        means = np.where(here, means, 0.0)
        n = here.sum(axis=0)
        centred = np.where(here, means - means.sum(axis=0) / n, 0.0)
        # Normal equations after the prompt effects are projected out: the Laplacian of the runs' shared prompts.
        laplacian = np.diag(here.sum(axis=1)).astype(np.float64) - (here / n) @ here.T
        if np.linalg.matrix_rank(laplacian, hermitian=True) < len(means) - 1:
            return None
        inverse = np.linalg.pinv(laplacian, hermitian=True)
        effects = inverse @ centred.sum(axis=1)
        shift = (here * effects[:, None]).sum(axis=0) / n
        residuals = np.where(here, centred - effects[:, None] + shift, 0.0)
        level = float((means.sum(axis=0) / n - shift).mean())
        return cls(effects, level, len(n), inverse, residuals, here)

    def difference(self, setting: np.ndarray, one: int, other: int) -> Interval:
        """Mean effect of the runs of one setting less that of another; ``setting`` numbers each run's, shape (R,).

        With a setting that has several runs, the variance is that over runs, pooled over the settings, plus that over
        prompts, minus that over their intersections (two-way clustering: Cameron, Gelbach and Miller 2011, JBES
        29:238), and not less than the first. That of the intersections is taken within settings, where it holds no
        differences of settings that vary from prompt to prompt. The degrees of freedom are those of Satterthwaite
        (1946, Biometrics Bulletin 2:110), and not fewer than there are runs beyond one a setting. Without such a
        setting, the variance is that over prompts alone.
        """
        # Slow to import, and needed only here.
        from scipy.special import stdtr, stdtrit

        sizes = np.bincount(setting)
        contrast = (setting == one) / sizes[one] - (setting == other) / sizes[other]
        weights = (self._inverse @ contrast)[:, None] * self._here
        weights = np.where(self._here, weights - weights.sum(axis=0) / self._here.sum(axis=0), 0.0)
        terms = weights * self._residuals
        n, freedom = self.n_prompts, self.n_prompts - 1
        variance = (terms.sum(axis=0) ** 2).sum() * (n / freedom if freedom else np.nan)
        if beyond := len(setting) - int(np.count_nonzero(sizes)):
            means = np.bincount(setting, self.effects) / np.maximum(sizes, 1)
            spread = ((self.effects - means[setting]) ** 2).sum() / beyond
            noise, n_noise = self._noise_within(setting)
            over_prompts, over_both = float(np.nan_to_num(variance)), noise * float((weights**2).sum())
            variance = over_runs = spread * (1 / sizes[one] + 1 / sizes[other])
            freedom = beyond
            if over_prompts > over_both:
                variance += over_prompts - over_both
                parts = ((over_runs, beyond), (over_prompts, n - 1), (over_both, max(n_noise, 1)))
                freedom = max(variance**2 / sum(part**2 / k for part, k in parts), beyond)
        mean, error = float(contrast @ self.effects), float(np.sqrt(variance))
        half = float(stdtrit(freedom, 0.975)) * error
        p_value = 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else np.nan
        return Interval(mean, error, mean - half, mean + half, 0, n, p_value)

    def _noise_within(self, setting: np.ndarray) -> tuple[float, int]:
        """Variance of a prompt's mean in a run about the effects of its setting, and its degrees of freedom."""
        square, freedom = 0.0, 0
        for k in np.flatnonzero(np.bincount(setting) > 1):
            runs = setting == k
            fit = RunEffects.fit(np.where(self._here[runs], self._residuals[runs], np.nan))
            if fit is not None:
                square += float((fit._residuals**2).sum())
                freedom += int(fit._here.sum()) - fit.n_prompts - len(fit.effects) + 1
        return square / max(freedom, 1), freedom

"""What a fitted kernel regression says of its own error: standard errors, limits, noise, degrees of freedom."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from sklearn.utils.validation import check_is_fitted

from kvar.kernels import get_kernel
from kvar.smoothing.data_checks import check_counts
from kvar.smoothing.design import Design
from kvar.smoothing.fitted_smoother import FittedSmoother
from kvar.smoothing.local_fits import fit_points, nearest, noise_from_fit, squared_norms
from kvar.utils.checks import is_number, require_choice

__all__ = ["ConfidenceBand", "Inference", "LocalFit"]


@dataclass(frozen=True)
class LocalFit:
    """Estimates at some points, with their standard errors and flags."""

    estimate: np.ndarray  # shape (t,): The fit
    # shape (t,): Its standard deviation given the x, without the bias; NaN where the window is empty.
    standard_error: np.ndarray
    weight: np.ndarray  # shape (t,): Sum of the kernel weights, in units of ``K(0)``
    empty: np.ndarray  # shape (t,): No neighbour carries weight; the estimate is what the `empty` parameter says
    degenerate: np.ndarray  # shape (t,): Degree 1: all weight is at one x, so the estimate is the local mean


@dataclass(frozen=True)
class ConfidenceBand:
    """Pointwise confidence limits."""

    lower: np.ndarray  # lower, estimate, upper: shape (t,): Limits and centre
    estimate: np.ndarray
    upper: np.ndarray
    level: float  # Coverage at each point


class Inference(FittedSmoother):
    """Errors of a fitted smoother."""

    def local_fit(self, x0, noise="constant", groups=None, derivative=0):
        """Estimates with their standard errors and flags.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        noise : {"constant", "local"}
            One noise variance for all x, or one that varies with x (as for binary responses): squared leave-one-out
            residuals, smoothed at the same bandwidth.
        groups : array_like, shape (t,), optional
            As in `predict`.
        derivative : int
            As in `predict`.

        Returns
        -------
        LocalFit
            Standard errors are ``sigma(t) sqrt(sum_j l_j**2 / w_j)`` with l_j the weights of the linear smoother (Fan
            and Gijbels 1996, section 4.3); they leave the bias out.
        """
        require_choice("noise", noise, ("constant", "local"))
        targets = self._targets(x0, groups)
        design, where = self._at(self._design, *targets)
        fits = self._fits(design)
        estimate = self._wanted(design, fits, derivative)[where]
        linear, there = (design, where) if self._linear is self._design else self._at(self._linear, *targets)
        linear_fits = fits if linear is design else self._fits(linear)
        norms = squared_norms(linear, fits=linear_fits, derivative=derivative, **self._smoother)[there]
        variance = self.noise_variance() if noise == "constant" else self._local_variance(*targets)
        return LocalFit(
            estimate,
            np.sqrt(variance * norms) / self.bandwidth**derivative,
            fits.weight[where] / float(get_kernel(self.kernel)(0.0)),
            fits.weight[where] <= 0.0,
            fits.degenerate[where],
        )

    def confidence_band(self, x0, level=0.95, noise="constant", groups=None, derivative=0):
        """Pointwise limits ``estimate -+ z standard_error``.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        level : float
            Coverage at each single point, between 0 and 1.
        noise : {"constant", "local"}
            As in `local_fit`.
        groups : array_like, shape (t,), optional
            As in `predict`.
        derivative : int
            As in `predict`.

        Returns
        -------
        ConfidenceBand
            The limits cover the expected estimate. They cover the curve where the bias is small against the standard
            error, so choose the bandwidth a little smaller than the best one for prediction.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not (is_number(level) and 0.0 < level < 1.0):
            raise ValueError(f"level must lie between 0 and 1, got {level!r:.60}")
        fit = self.local_fit(x0, noise, groups, derivative)
        half = NormalDist().inv_cdf(0.5 + 0.5 * level) * fit.standard_error
        return ConfidenceBand(fit.estimate - half, fit.estimate, fit.estimate + half, level)

    def degrees_of_freedom(self):
        """Trace of the smoother matrix: how many parameters the fit is worth.

        Returns
        -------
        float
            Between 1 (one mean for all) and the number of distinct x; zero for ``sided="past"``.
        """
        check_is_fitted(self)
        return float(np.sum(self._fits(self._linear).influence)) if self.sided == "two" else 0.0

    def noise_variance(self):
        """Variance of the responses about the curve, from the residuals.

        Returns
        -------
        float
            ``sum w r**2 / (sum w - 2 tr L + tr L'L)`` (Fan and Gijbels 1996, equation 4.3), over the observations with
            a neighbour; NaN where nothing is left to estimate it from.
        """
        check_is_fitted(self)
        check_counts(self._weight, self.degree + 2)
        return noise_from_fit(self._linear, self._linear.squares(self._y, self._weight), **self._smoother)

    def variance_function(self, x0, groups=None):
        """Variance of the responses about the curve, as it varies with x.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        groups : array_like, shape (t,), optional
            As in `predict`.

        Returns
        -------
        ndarray of float64, shape (t,)
            Local means of the squared leave-one-out residuals, each divided by one plus the variance that its
            prediction adds. The root is the sigma of ``noise="local"``.
        """
        return self._local_variance(*self._targets(x0, groups))

    def _local_variance(self, points, series):
        check_counts(self._weight, self.degree + 2)
        design = self._linear
        residuals = self._y - self.loo_predict()
        fits = self._fits(design)
        norms = squared_norms(design, fits=fits, **self._smoother)[design.member]
        if self.sided == "two":
            # Leave the observation's own weight out of its row of the smoother matrix.
            own = np.divide(self._weight, design.w[design.member], where=self._weight > 0, out=np.zeros_like(norms))
            own *= fits.influence[design.member]
            with np.errstate(divide="ignore", invalid="ignore"):
                norms = (norms - np.where(own == 0.0, 0.0, own**2 / self._weight)) / (1.0 - own) ** 2
        # A leave-one-out prediction is noisy itself: the squared residual has mean sigma**2 (1 + norm).
        squares = residuals**2 / (1.0 + norms)
        known = np.isfinite(squares) & (self._weight > 0.0)
        smooth = Design.build(self._x, np.where(known, squares, 0.0), self._weight * known, self._series)
        smooth, where = self._at(smooth, points, series)
        estimate = fit_points(smooth, **{**self._smoother, "degree": 0}).estimate
        return np.where(np.isnan(estimate), nearest(smooth, past=self.sided == "past"), estimate)[where]

"""What a fitted kernel regression says of its own error: standard errors, limits, noise, degrees of freedom."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.validation import check_is_fitted

from kvar.kernels import get_kernel
from kvar.smoothing.bands import (
    ConfidenceBand,
    bounded_limits,
    careful_noise,
    corrected_smoother,
    level_at_each,
    response_bounds,
    student_quantiles,
    symmetric_limits,
)
from kvar.smoothing.data_checks import check_counts
from kvar.smoothing.fitted_smoother import FittedSmoother
from kvar.smoothing.local_fits import FitsAtTargets, residual_variance, squared_norms
from kvar.smoothing.noise import constant_noise_freedom, local_noise, rate_noise
from kvar.smoothing.unequal_squares import ratio_quantiles
from kvar.utils.checks import is_number, require_choice

__all__ = ["Inference", "LocalFit"]

# Degrees of freedom from which Student's t is as good as the distribution of the ratio itself, to 0.5 % of coverage.
_FEW = 20.0


@dataclass(frozen=True)
class LocalFit:
    """Estimates at some points, with their standard errors and flags."""

    estimate: np.ndarray  # shape (t,): The fit
    # shape (t,): Its standard deviation given the x, without the bias; NaN where the window is empty.
    standard_error: np.ndarray
    weight: np.ndarray  # shape (t,): Sum of the kernel weights, in units of ``K(0)``
    empty: np.ndarray  # shape (t,): No neighbour carries weight; the estimate is what the `empty` parameter says
    degenerate: np.ndarray  # shape (t,): Too few x for the degree: the fit is of a lower one
    freedom: np.ndarray  # shape (t,): Degrees of freedom of the noise variance behind the standard error; 0 if unknown


class Inference(FittedSmoother):
    """Errors of a fitted smoother."""

    def local_fit(self, x0, noise="constant", groups=None, derivative=0):
        """Estimates with their standard errors and flags.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        noise : {"constant", "local"}
            One noise variance for all x, or one that varies with x: squared leave-one-out residuals, smoothed at the
            same bandwidth. Local noise is NaN where no more than two of them are known.
        groups : array_like, shape (t,), optional
            As in `predict`.
        derivative : int
            As in `predict`.

        Returns
        -------
        LocalFit
            Standard errors are ``sigma(t) sqrt(sum_j l_j**2 / w_j)`` with l_j the weights of the linear smoother (Fan
            and Gijbels 1996, section 4.3); they leave the bias out. The degrees of freedom are those of Cleveland and
            Devlin (1988) for constant noise, the effective number of squares less one for local noise. Constant noise
            is that of all series together: where these differ in noise, as rates near 0 and 1/2 do, the error of one
            series, and of its slope, takes a fit of that series alone. The limits of `confidence_band` for binary
            responses do not follow from these errors, but from the rate at each point.
        """
        require_choice("noise", noise, ("constant", "local"))
        targets = self._targets(x0, groups)
        at = self._fitted_at(self._design, targets)
        linear = at if self._linear is self._design else self._fitted_at(self._linear, targets)
        fits, where = at.fits, at.where
        estimate, norms = self._wanted(at.design, fits, derivative), linear.norms
        if derivative:
            norms = squared_norms(linear.design, fits=linear.fits, derivative=derivative, **self._smoother)
        variance, freedom = self._noise(linear, noise)
        return LocalFit(
            estimate[where],
            np.sqrt(variance * norms[linear.where]) / self.bandwidth_**derivative,
            fits.weight[where] / get_kernel(self.kernel).at_zero,
            fits.weight[where] <= 0.0,
            fits.degenerate[where],
            freedom,
        )

    def confidence_band(
        self,
        x0,
        level=0.95,
        noise="constant",
        *,
        bounds="auto",
        bias_corrected=False,
        simultaneous=False,
        groups=None,
        derivative=0,
    ):
        """Limits ``estimate -+ t standard_error``, or limits within bounds.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        level : float
            Coverage, between 0 and 1.
        noise : {"constant", "local"}
            As in `local_fit`; binary responses need neither.
        bounds : "auto", tuple of float or None
            Least and largest possible response. Limits then stay between them, and cover near them too: where no
            response lies within, Wilson's with the effective sample size of the weights. Those of a line also count
            how the variance changes nearby. By default 0 and 1 where every response is one of these, else none.
        bias_corrected : bool
            Take the estimated bias out, and count the variance that this adds: the robust bias-corrected limits of
            Calonico, Cattaneo and Farrell (2018), with equal bandwidths: `bandwidth` times ``n**(-1/20)``, for n
            observations of a series, whose error of coverage falls fastest at an end where `bandwidth` is best for the
            fit (Calonico, Cattaneo and Farrell 2020; `bandwidth` itself for means that look back). The estimate is then
            the corrected one.
        simultaneous : bool
            Cover at all of `x0` at once, as a picture is read, rather than at each.
        groups : array_like, shape (t,), optional
            As in `predict`.
        derivative : int
            As in `predict`. Limits of a derivative have no bounds, and can be neither bias-corrected nor simultaneous.

        Returns
        -------
        ConfidenceBand
            Without `bias_corrected` the limits cover the expected estimate, and the curve only where the bias is small
            against the standard error. The coverage study has the numbers: ``docs/simulations/coverage.md``.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, a response lies outside `bounds`, or bias is to be taken out at degree 2.

        Notes
        -----
        Cost as `local_fit`; with `simultaneous`, the number of points of `x0` times those in a window.

        References
        ----------
        Calonico, S., Cattaneo, M. D. and Farrell, M. H. (2018). On the effect of bias estimation on coverage accuracy
        in nonparametric inference. Journal of the American Statistical Association 113, 767-779.
        Calonico, S., Cattaneo, M. D. and Farrell, M. H. (2020). Optimal bandwidth choice for robust bias-corrected
        inference in regression discontinuity designs. Econometrics Journal 23, 192-210.

        Examples
        --------
        >>> import numpy as np
        >>> from kvar import KernelRegressor
        >>> x = np.arange(100) / 100
        >>> rare = KernelRegressor("epanechnikov", 0.2).fit(x, x > 0.97)
        >>> band = rare.confidence_band([0.5])
        >>> band.lower, band.estimate, band.upper.round(3)
        (array([0.]), array([0.]), array([0.103]))
        """
        if not (is_number(level) and 0.0 < level < 1.0):
            raise ValueError(f"level must lie between 0 and 1, got {level!r:.60}")
        targets = self._targets(x0, groups)
        if derivative:
            if bias_corrected or simultaneous:
                raise ValueError("limits of a derivative are neither bias-corrected nor simultaneous")
            fit = self.local_fit(x0, noise, groups, derivative)
            limits = symmetric_limits(fit.estimate, fit.standard_error, student_quantiles(fit.freedom, level))
            return ConfidenceBand(limits[0], fit.estimate, limits[1], level)
        bounds, binary = response_bounds(bounds, self._y[self._weight > 0.0])
        fitted = self._corrected() if bias_corrected else self
        at = fitted._fitted_at(self._design, targets)
        linear = at if self._linear is self._design else fitted._fitted_at(self._linear, targets)
        estimate, norms = fitted._wanted(at.design, at.fits, 0)[at.where], linear.norms[linear.where]
        if bias_corrected:  # too few points for the degree are too few to know the bias
            estimate = np.where(at.fits.degenerate[at.where], np.nan, estimate)
        points, series = targets
        each = level_at_each(self._linear, points, level, series=series, **fitted._smoother) if simultaneous else level
        if binary:
            # A mean is a rate, whose variance is its own.
            variance, freedom = rate_noise(linear, bounds) if fitted.degree else np.nan, 0.0
        else:
            if bias_corrected:  # the noise is that about the fit itself
                linear = replace(linear, fits=self._fits(linear.design), smoother=self._smoother)
            variance, freedom = self._noise(linear, noise)
            if bounds is not None and noise == "local":
                variance = careful_noise(estimate, norms, variance, freedom, bounds)
        if bounds is not None:
            lower, estimate, upper = bounded_limits(estimate, norms, variance, freedom, each, bounds, binary=binary)
            return ConfidenceBand(lower, estimate, upper, level)
        quantiles = self._quantiles(targets, noise, freedom, each)
        lower, upper = symmetric_limits(estimate, np.sqrt(variance * norms), quantiles)
        return ConfidenceBand(lower, estimate, upper, level)

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
        return self._residual_variance(self._fitted_at(self._linear, (self._x, self._series)))[0]

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
            Means of the squared leave-one-out residuals nearby, each divided by one plus the variance that its
            prediction adds, with the squared weights of the fit. The root is the sigma of ``noise="local"``.
        """
        return self._noise(self._fitted_at(self._linear, self._targets(x0, groups)), "local")[0]

    def _fitted_at(self, data, targets):
        """The fits to data at the points of a design that has all the targets."""
        design, where = self._at(data, *targets)
        if design is not data:
            design = replace(design, member=design.member[data.member])
        return FitsAtTargets(design, where, self._fits(design), self._smoother)

    def _corrected(self):
        """The same data with the smoother whose limits count the bias of this one."""
        if self.degree == 2:
            raise ValueError("bias_corrected takes a polynomial of higher degree; use degree 0 or 1 with it")
        fitted = copy(self)
        past = self.sided == "past"
        fitted.degree, fitted.bandwidth_ = corrected_smoother(
            self._linear, self.bandwidth_, past=past, degree=self.degree
        )
        fitted.empty = "nan"
        return fitted

    def _noise(self, at, noise):
        """Noise variance at targets, and its degrees of freedom."""
        require_choice("noise", noise, ("constant", "local"))
        check_counts(self._weight, self.degree + 2)
        if noise == "local":
            return local_noise(at, self._pseudo, self._weight)
        variance, expected = self._residual_variance(at)
        freedom = constant_noise_freedom(self._linear, expected, **self._smoother)
        return variance, np.full(at.where.size, freedom)

    def _quantiles(self, targets, noise, freedom, level):
        """How many standard errors the limits are away."""
        quantiles = student_quantiles(freedom, level)
        if noise == "local" and np.any(few := (freedom > 0.0) & (freedom < _FEW)):
            points, series = targets
            few_series = None if series is None else series[few]
            exact = ratio_quantiles(self._linear, points[few], few_series, level, **self._smoother)
            quantiles[few] = np.where(np.isnan(exact), quantiles[few], exact)
        return quantiles

    def _residual_variance(self, at):
        squares = at.design.squares(self._pseudo, self._weight)
        return residual_variance(at.design, squares, at.fits, at.norms, past=self.sided == "past")

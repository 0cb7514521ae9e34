"""Kernel regression of one response on one variable: local means and local lines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from kvar.kernels import get_kernel
from kvar.smoothing.design import Design
from kvar.smoothing.estimator import Estimator, NotFittedError
from kvar.smoothing.local_fits import fit_points, leave_one_out, nearest, noise_from_fit, squared_row
from kvar.smoothing.validation import check_data, check_points
from kvar.utils.checks import is_number, require_choice

__all__ = ["ConfidenceBand", "KernelRegressor", "LocalFit", "NotFittedError"]


@dataclass(frozen=True)
class LocalFit:
    """What `KernelRegressor.local_fit` knows at each point.

    Attributes
    ----------
    estimate : ndarray of float64, shape (t,)
        The fit.
    standard_error : ndarray of float64, shape (t,)
        Its standard deviation given the x; NaN where the window is empty.
    weight : ndarray of float64, shape (t,)
        Sum of the kernel weights, in units of ``K(0)``.
    empty : ndarray of bool, shape (t,)
        No neighbour carries weight; the estimate is what the `empty` parameter says.
    degenerate : ndarray of bool, shape (t,)
        Degree 1: all weight is at one x, so the estimate is the local mean.
    """

    estimate: np.ndarray
    standard_error: np.ndarray
    weight: np.ndarray
    empty: np.ndarray
    degenerate: np.ndarray


@dataclass(frozen=True)
class ConfidenceBand:
    """Pointwise confidence limits.

    Attributes
    ----------
    lower, estimate, upper : ndarray of float64, shape (t,)
        Limits and centre.
    level : float
        Coverage at each point.
    """

    lower: np.ndarray
    estimate: np.ndarray
    upper: np.ndarray
    level: float


class KernelRegressor(Estimator):
    """Nadaraya-Watson and local-linear regression, exact and, but for the Gaussian kernel, in O(n) after one sort.

    With weights ``k_j = w_j K((x_j - t) / h)`` the estimate at t is ``sum k_j y_j / sum k_j`` for degree 0 (Nadaraya
    1964, Watson 1964), and the value at t of the line that minimises ``sum k_j (y_j - a - b (x_j - t))**2`` for degree
    1 (Fan and Gijbels 1996, section 3.1).

    Parameters
    ----------
    kernel : str or Kernel
        Name of a registered kernel.
    bandwidth : float
        Half-width of the window in units of x; the standard deviation for the Gaussian kernel, the decay length for
        the exponential one. A neighbour at exactly that distance is inside.
    degree : {0, 1}
        Local mean or local line. A line leaves [0, 1] for binary responses, a mean does not.
    sided : {"two", "past"}
        ``"past"`` uses strictly earlier points only: observations at equal x never see each other.
    empty : {"nan", "nearest"}
        Answer where no neighbour carries weight: NaN, or the response at the nearest (earlier) point, averaged where
        two are equally near. Nothing lies before the first point, so with ``sided="past"`` its answer is NaN always.
    tolerance : float
        Above zero, local means with the two-sided Gaussian kernel are computed on a grid, and err by at most this
        share of the range of the responses.

    Attributes
    ----------
    n_features_in_ : int
        Always 1.

    Notes
    -----
    Local lines where all weight is at one x have no slope; the local mean is returned and `local_fit` flags it.
    Weights count observations: a row of weight 2 is the same as that row twice, standard errors included.

    Fitting sorts, O(n log n); a prediction at m points costs O(n + m) for the compact kernels and the exponential one,
    and the number of pairs within ten bandwidths for the Gaussian.

    Before `fit`, all that needs the data raises `NotFittedError`: `predict`, `loo_predict`, `local_fit`,
    `confidence_band`, `degrees_of_freedom`, `noise_variance` and `score`.

    References
    ----------
    Fan, J. and Gijbels, I. (1996). Local Polynomial Modelling and Its Applications. Chapman and Hall.

    Examples
    --------
    >>> model = KernelRegressor("triangular", bandwidth=2.0).fit([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])
    >>> model.predict([1.0])
    array([1.5])
    >>> model.loo_predict()
    array([1., 2., 1.])
    """

    def __init__(self, kernel="triangular", bandwidth=0.1, degree=0, sided="two", empty="nan", tolerance=0.0):
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.degree = degree
        self.sided = sided
        self.empty = empty
        self.tolerance = tolerance

    def fit(self, x, y, sample_weight=None):
        """Sort the data.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, 1)
            Points.
        y : array_like, shape (n,)
            Responses, binary ones too.
        sample_weight : array_like, shape (n,), optional
            Non-negative weights, not all zero.

        Returns
        -------
        KernelRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            For parameters or data that make no sense: NaN, infinities, lengths that differ, a bandwidth that is not
            positive, a one-sided kernel with ``sided="two"``.
        """
        kernel = get_kernel(self.kernel)
        if not (is_number(self.bandwidth) and 0 < self.bandwidth < math.inf):
            raise ValueError(f"bandwidth must be a positive number, got {self.bandwidth!r:.60}")
        require_choice("degree", self.degree, (0, 1))
        require_choice("sided", self.sided, ("two", "past"))
        require_choice("empty", self.empty, ("nan", "nearest"))
        if kernel.one_sided and self.sided != "past":
            raise ValueError(f'the {kernel.name} kernel looks back only; use sided="past"')
        x, y, weight = check_data(x, y, sample_weight)
        self.n_features_in_ = 1
        self._design = Design.build(x, y, weight)
        self._x, self._y = x.copy(), y.copy()
        self._weight = np.ones(y.size) if weight is None else weight.copy()
        return self

    def predict(self, x0):
        """Estimates at any points.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where; with ``sided="past"`` only observations with x strictly below count.

        Returns
        -------
        ndarray of float64, shape (t,)
            The fit.
        """
        design, where = self._at(x0)
        return self._filled(design, self._fits(design).estimate)[where]

    def loo_predict(self):
        """Estimates at the observations, each without the observation itself.

        Returns
        -------
        ndarray of float64, shape (n,)
            In the order of the data. With ``sided="past"`` they equal the predictions, which never use it.
        """
        self._check_fitted()
        design = self._design
        past = self.sided == "past"
        fits = leave_one_out(
            design, get_kernel(self.kernel), self.bandwidth, past=past, degree=self.degree, tolerance=self.tolerance
        )
        if self.empty == "nan":
            return fits.estimate
        return np.where(np.isnan(fits.estimate), nearest(design, past=past)[design.member], fits.estimate)

    def local_fit(self, x0, noise="constant"):
        """Estimates with their standard errors and flags.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        noise : {"constant", "local"}
            One noise variance for all x, or one that varies with x, as for binary responses: squared leave-one-out
            residuals smoothed at the same bandwidth.

        Returns
        -------
        LocalFit
            Standard errors are ``sigma(t) sqrt(sum_j l_j**2 / w_j)`` with l_j the weights of the linear smoother (Fan
            and Gijbels 1996, section 4.3); they leave the bias out.
        """
        require_choice("noise", noise, ("constant", "local"))
        design, where = self._at(x0)
        fits = self._fits(design)
        kernel = get_kernel(self.kernel)
        factor = squared_row(design, kernel, self.bandwidth, fits, past=self.sided == "past", degree=self.degree)
        variance = self.noise_variance() if noise == "constant" else self._local_variance(x0)
        empty = fits.weight <= 0.0
        return LocalFit(
            self._filled(design, fits.estimate)[where],
            np.sqrt(variance * factor[where]),
            fits.weight[where] / float(kernel(0.0)),
            empty[where],
            fits.degenerate[where],
        )

    def confidence_band(self, x0, level=0.95, noise="constant"):
        """Pointwise limits ``estimate -+ z standard_error``.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        level : float
            Coverage at each single point, between 0 and 1.
        noise : {"constant", "local"}
            As in `local_fit`.

        Returns
        -------
        ConfidenceBand
            The limits cover the expected estimate; they cover the curve where the bias is small beside the standard
            error, so choose the bandwidth a little smaller than the best one for prediction.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not (is_number(level) and 0.0 < level < 1.0):
            raise ValueError(f"level must lie between 0 and 1, got {level!r:.60}")
        fit = self.local_fit(x0, noise)
        half = NormalDist().inv_cdf(0.5 + 0.5 * level) * fit.standard_error
        return ConfidenceBand(fit.estimate - half, fit.estimate, fit.estimate + half, level)

    def degrees_of_freedom(self):
        """Trace of the smoother matrix: how many parameters the fit is worth.

        Returns
        -------
        float
            Between 1 (one mean for all) and the number of distinct x; zero for ``sided="past"``.
        """
        self._check_fitted()
        return float(np.sum(self._fits(self._design).influence)) if self.sided == "two" else 0.0

    def noise_variance(self):
        """Variance of the responses about the curve, from the residuals.

        Returns
        -------
        float
            ``sum w r**2 / (sum w - 2 tr L + tr L'L)`` (Fan and Gijbels 1996, equation 4.3), over the observations with
            a neighbour; NaN where nothing is left to estimate it from.
        """
        self._check_fitted()
        design = self._design
        mean = np.divide(design.v, design.w, out=np.zeros_like(design.v), where=design.w > 0.0)
        squares = np.bincount(design.member, self._weight * (self._y - mean[design.member]) ** 2)
        return noise_from_fit(
            design, squares, get_kernel(self.kernel), self.bandwidth, past=self.sided == "past", degree=self.degree
        )

    def _at(self, x0):
        self._check_fitted()
        x0 = check_points(x0)
        if np.array_equal(x0, self._x):
            return self._design, self._design.member
        return self._design.with_targets(x0)

    def _fits(self, design):
        return fit_points(
            design,
            get_kernel(self.kernel),
            self.bandwidth,
            past=self.sided == "past",
            degree=self.degree,
            tolerance=self.tolerance,
        )

    def _filled(self, design, estimate):
        if self.empty == "nan":
            return estimate
        return np.where(np.isnan(estimate), nearest(design, past=self.sided == "past"), estimate)

    def _local_variance(self, x0):
        design, kernel, past = self._design, get_kernel(self.kernel), self.sided == "past"
        residuals = self._y - self.loo_predict()
        fits = self._fits(design)
        norm = squared_row(design, kernel, self.bandwidth, fits, past=past, degree=self.degree)[design.member]
        if not past:
            share = np.divide(self._weight, design.w[design.member], where=self._weight > 0, out=np.zeros_like(norm))
            own = fits.influence[design.member] * share
            with np.errstate(divide="ignore", invalid="ignore"):
                norm = (norm - np.where(own == 0.0, 0.0, own**2 / self._weight)) / (1.0 - own) ** 2
        # A leave-one-out prediction is noisy itself: the squared residual has mean sigma**2 (1 + norm).
        squares = residuals**2 / (1.0 + norm)
        known = np.isfinite(squares) & (self._weight > 0.0)
        if not known.any():
            return np.full(np.shape(x0), np.nan)
        smooth = KernelRegressor(self.kernel, self.bandwidth, sided=self.sided, empty="nearest")
        return smooth.fit(design.x[design.member][known], squares[known], self._weight[known]).predict(x0)

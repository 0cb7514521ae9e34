"""Kernel regression of one response on one variable: the estimator, its standard errors and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from kvar.kernels import get_kernel
from kvar.smoothing.bands import (
    ConfidenceBand,
    bounded_limits,
    corrected_fit,
    level_at_each,
    response_bounds,
    student_limits,
)
from kvar.smoothing.data_checks import check_data, check_points
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points, leave_one_out, nearest, noise_from_fit, squared_norms
from kvar.smoothing.noise import constant_noise_freedom, local_noise
from kvar.utils.checks import is_number, require_choice

__all__ = ["ConfidenceBand", "KernelRegressor", "LocalFit"]


@dataclass(frozen=True)
class LocalFit:
    """Estimates at some points, with their standard errors and flags."""

    estimate: np.ndarray  # shape (t,): The fit
    # shape (t,): Its standard deviation given the x, without the bias; NaN where the window is empty.
    standard_error: np.ndarray
    weight: np.ndarray  # shape (t,): Sum of the kernel weights, in units of ``K(0)``
    empty: np.ndarray  # shape (t,): No neighbour carries weight; the estimate is what the `empty` parameter says
    degenerate: np.ndarray  # shape (t,): Degree 1: all weight is at one x, so the estimate is the local mean
    freedom: np.ndarray  # shape (t,): Degrees of freedom of the noise variance behind the standard error; 0 if unknown


class KernelRegressor(RegressorMixin, BaseEstimator):
    """Nadaraya-Watson and local-linear regression on one variable, exact and, but for the Gaussian kernel, in O(n).

    With weights ``k_j = w_j K((x_j - t) / h)`` the estimate at t is ``sum k_j y_j / sum k_j`` for degree 0 (Nadaraya
    1964, Watson 1964), and the value at t of the line that minimises ``sum k_j (y_j - a - b (x_j - t))**2`` for degree
    1 (Fan and Gijbels 1996, section 3.1). It is a scikit-learn regressor: clone it, search over its parameters, put it
    into a pipeline.

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
        Answer where no neighbour has weight: NaN, or the response at the nearest (earlier) point, averaged over two at
        equal distance. Nothing lies before the first point, so with ``sided="past"`` its answer is always NaN. A NaN
        among the predictions makes the score NaN.
    tolerance : float
        Above zero, local means with the two-sided Gaussian kernel are computed on a grid, and err by at most this
        fraction of the range of the responses.

    Attributes
    ----------
    n_features_in_ : int
        Always 1.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of the column; only after fitting a table with one.

    Notes
    -----
    Local lines where all weight is at one x have no slope; the local mean is returned and `local_fit` flags it.
    Weights count observations: a row of weight 2 is the same as that row twice, standard errors included.

    Fitting sorts, O(n log n); a prediction at m points costs O(n + m) for the compact kernels and the exponential one,
    and the number of pairs within ten bandwidths for the Gaussian.

    Before `fit`, every method that needs the data raises `sklearn.exceptions.NotFittedError`.

    There is one variable, so x has the shape (n,) or (n, 1). For this reason alone some of scikit-learn's estimator
    checks fail. Checks that index a second axis of x, or a second column: ``check_dict_unchanged``,
    ``check_dont_overwrite_parameters``, ``check_dtype_object``, ``check_estimator_sparse_array``,
    ``check_f_contiguous_array_estimator``, ``check_fit2d_1feature``, ``check_fit2d_1sample``,
    ``check_fit2d_predict1d``, ``check_methods_sample_order_invariance``, ``check_methods_subset_invariance``,
    ``check_n_features_in``, ``check_n_features_in_after_fitting``, ``check_regressors_no_decision_function``. Checks
    that fit several columns, or none: ``check_estimators_empty_data_messages``, ``check_estimators_nan_inf``,
    ``check_sample_weight_equivalence_on_dense_data``, ``check_sample_weights_not_overwritten``,
    ``check_sample_weights_shape``. One check wants the score that ten columns allow: ``check_regressors_train``. One
    check refuses x of shape (n,): ``check_fit1d``.

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

    The bandwidth by five-fold cross-validation:

    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> x = np.random.default_rng(0).uniform(size=(200, 1))
    >>> search = GridSearchCV(KernelRegressor(empty="nearest"), {"bandwidth": [0.01, 0.1, 1.0]}, cv=5)
    >>> search.fit(x, np.sin(6.0 * x[:, 0])).best_params_
    {'bandwidth': 0.01}
    """

    # scikit-learn takes every parameter but X and y for metadata.
    __metadata_request__fit: ClassVar = {"x": UNUSED}
    __metadata_request__predict: ClassVar = {"x0": UNUSED}
    __metadata_request__score: ClassVar = {"x": UNUSED}

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
            For a parameter or data out of range: NaN, infinities, lengths that differ, a bandwidth that is not
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
        if y is not None and np.ndim(y := np.asarray(y)) == 2:
            y = column_or_1d(y, warn=True)  # a column is taken, with scikit-learn's warning
        x, y, weight = check_data(self._points(x, reset=True), y, sample_weight)
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
        return self._filled(design, self._fits(design).estimate[where], where)

    def loo_predict(self):
        """Estimates at the observations, each without the observation itself.

        Returns
        -------
        ndarray of float64, shape (n,)
            In the order of the data. With ``sided="past"`` these are the predictions, which never use the observation.
        """
        check_is_fitted(self)
        estimate = leave_one_out(self._design, **self._smoother, tolerance=self.tolerance).estimate
        return self._filled(self._design, estimate, self._design.member)

    def local_fit(self, x0, noise="constant"):
        """Estimates with their standard errors and flags.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where.
        noise : {"constant", "local"}
            One noise variance for all x, or one that varies with x: squared leave-one-out residuals, smoothed at the
            same bandwidth. Local noise is NaN where no more than two of them are known.

        Returns
        -------
        LocalFit
            Standard errors are ``sigma(t) sqrt(sum_j l_j**2 / w_j)`` with l_j the weights of the linear smoother (Fan
            and Gijbels 1996, section 4.3); they leave the bias out. The degrees of freedom are those of Cleveland and
            Devlin (1988) for constant noise, the effective number of squares less one for local noise.
        """
        require_choice("noise", noise, ("constant", "local"))
        design, where = self._at(x0)
        fits = self._fits(design)
        norms = squared_norms(design, fits=fits, **self._smoother)[where]
        variance, freedom = self._noise(x0, noise)
        return LocalFit(
            self._filled(design, fits.estimate[where], where),
            np.sqrt(variance * norms),
            fits.weight[where] / float(get_kernel(self.kernel)(0.0)),
            fits.weight[where] <= 0.0,
            fits.degenerate[where],
            freedom,
        )

    def confidence_band(
        self, x0, level=0.95, noise="constant", *, bounds="auto", bias_corrected=False, simultaneous=False
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
            Least and largest possible response. Limits then stay between them, and cover near them too: Wilson's with
            the effective sample size of the weights. By default 0 and 1 where every response is one of these, else
            none.
        bias_corrected : bool
            Take the estimated bias out, and count the variance that this adds: the robust bias-corrected limits of
            Calonico, Cattaneo and Farrell (2018), with equal bandwidths. The estimate is then the corrected one.
        simultaneous : bool
            Cover at all of `x0` at once, as a picture is read, rather than at each.

        Returns
        -------
        ConfidenceBand
            Without `bias_corrected` the limits cover the expected estimate, and the curve only where the bias is small
            against the standard error. The coverage study has the numbers: ``docs/simulations/coverage.md``.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, or a response lies outside `bounds`.

        Notes
        -----
        Cost as `local_fit`; with `bias_corrected` or `simultaneous`, the number of points of `x0` times those in a
        window.

        References
        ----------
        Calonico, S., Cattaneo, M. D. and Farrell, M. H. (2018). On the effect of bias estimation on coverage accuracy
        in nonparametric inference. Journal of the American Statistical Association 113, 767-779.

        Examples
        --------
        >>> import numpy as np
        >>> x = np.arange(100) / 100
        >>> rare = KernelRegressor("epanechnikov", 0.2).fit(x, x > 0.97)
        >>> band = rare.confidence_band([0.5])
        >>> band.lower, band.estimate, band.upper.round(3)
        (array([0.]), array([0.]), array([0.106]))
        """
        if not (is_number(level) and 0.0 < level < 1.0):
            raise ValueError(f"level must lie between 0 and 1, got {level!r:.60}")
        design, where = self._at(x0)
        bounds, binary = response_bounds(bounds, self._y[self._weight > 0.0])
        targets = design.x[where]
        if bias_corrected:
            fit = corrected_fit(self._design, targets, **self._smoother)
            estimate, norms = fit.estimate, fit.norms
        else:
            fits = self._fits(design)
            estimate = self._filled(design, fits.estimate[where], where)
            norms = squared_norms(design, fits=fits, **self._smoother)[where]
        each = level_at_each(self._design, targets, level, **self._smoother) if simultaneous else level
        variance, freedom = (np.nan, 0.0) if binary else self._noise(x0, noise)
        if bounds is not None:
            return ConfidenceBand(
                *bounded_limits(estimate, norms, variance, freedom, each, bounds, binary=binary), level
            )
        lower, upper = student_limits(estimate, np.sqrt(variance * norms), freedom, each)
        return ConfidenceBand(lower, estimate, upper, level)

    def degrees_of_freedom(self):
        """Trace of the smoother matrix: how many parameters the fit is worth.

        Returns
        -------
        float
            Between 1 (one mean for all) and the number of distinct x; zero for ``sided="past"``.
        """
        check_is_fitted(self)
        return float(np.sum(self._fits(self._design).influence)) if self.sided == "two" else 0.0

    def noise_variance(self):
        """Variance of the responses about the curve, from the residuals.

        Returns
        -------
        float
            ``sum w r**2 / (sum w - 2 tr L + tr L'L)`` (Fan and Gijbels 1996, equation 4.3), over the observations with
            a neighbour; NaN where nothing is left to estimate it from.
        """
        check_is_fitted(self)
        return noise_from_fit(self._design, self._design.squares(self._y, self._weight), **self._smoother)

    def score(self, x, y, sample_weight=None):
        """Coefficient of determination of the predictions; NaN where one of them is."""
        fitted = self.predict(x)
        return math.nan if np.isnan(fitted).any() else r2_score(y, fitted, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        return tags

    def _points(self, x, reset=False):
        """Points as a vector; scikit-learn keeps (or compares with what it kept) the name of their column."""
        points = check_points(x)
        validate_data(self, x if getattr(x, "ndim", 1) == 2 else points[:, None], reset=reset, skip_check_array=True)
        return points

    @property
    def _smoother(self):
        return {
            "kernel": get_kernel(self.kernel),
            "h": self.bandwidth,
            "past": self.sided == "past",
            "degree": self.degree,
        }

    def _at(self, x0):
        """A design that has all the points, and the place of each in it."""
        check_is_fitted(self)
        points = self._points(x0)
        if np.array_equal(points, self._x):
            return self._design, self._design.member
        return self._design.with_targets(points)

    def _fits(self, design):
        return fit_points(design, **self._smoother, tolerance=self.tolerance)

    def _filled(self, design, estimate, where):
        """The estimates, one at each point `where` of the design, with the answer for empty windows filled in."""
        if self.empty == "nan":
            return estimate
        return np.where(np.isnan(estimate), nearest(design, past=self.sided == "past")[where], estimate)

    def _noise(self, x0, noise):
        """Noise variance at some points, and its degrees of freedom."""
        require_choice("noise", noise, ("constant", "local"))
        design, where = self._at(x0)
        if noise == "local":
            return local_noise(self._design, self._x, self._y, self._weight, design.x[where], **self._smoother)
        freedom = constant_noise_freedom(self._design, **self._smoother)
        return self.noise_variance(), np.full(where.size, freedom)

"""Kernel regression of one response on one variable: the estimator, as scikit-learn has them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_is_fitted, column_or_1d

from kvar.kernels import Kernel, KernelName
from kvar.smoothing.bands import ConfidenceBand
from kvar.smoothing.data_checks import check_points, check_regressor, from_seconds, refuse_masked
from kvar.smoothing.fit_picture import draw_fit
from kvar.smoothing.inference import Inference, LocalFit
from kvar.smoothing.local_fits import leave_one_out
from kvar.utils.checks import require_choice

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ConfidenceBand", "KernelRegressor", "LocalFit"]


class KernelRegressor(Inference, RegressorMixin, BaseEstimator):
    """Nadaraya-Watson and local-linear regression on one variable, exact and, but for the Gaussian kernel, in O(n).

    With weights ``k_j = w_j K((x_j - t) / h)`` the estimate at t is ``sum k_j y_j / sum k_j`` for degree 0 (Nadaraya
    1964, Watson 1964), and the value at t of the line that minimises ``sum k_j (y_j - a - b (x_j - t))**2`` for degree
    1 (Fan and Gijbels 1996, section 3.1). It is a scikit-learn regressor: clone it, search over its parameters, put it
    into a pipeline.

    Parameters
    ----------
    kernel : str or Kernel
        Name of a registered kernel.
    bandwidth : float or "auto"
        Half-width of the window in units of x; the standard deviation for the Gaussian kernel, the decay length for
        the exponential one. A neighbour at exactly that distance is inside. "auto" takes what `select_bandwidth`
        chooses from the data by its default method, for which weights count observations, at the cost of fifty fits.
    degree : {0, 1, 2}
        Local mean, line or quadratic. A line leaves [0, 1] for binary responses, a mean does not.
    sided : {"two", "past"}
        ``"past"`` uses strictly earlier points only: observations at equal x never see each other.
    empty : {"nan", "nearest"}
        Answer where no neighbour has weight: NaN, or the response at the nearest (earlier) point, averaged over two at
        equal distance. Nothing lies before the first point, so with ``sided="past"`` its answer is always NaN. A NaN
        among the predictions makes the score NaN.
    tolerance : float
        Above zero, local means with the two-sided Gaussian kernel are computed on a grid, and err by at most this
        fraction of the range of the responses.
    robust_iterations : int
        How often residuals are turned into weights that take outlying responses out, as `it` of `lowess`, where three
        are usual. For rewards without bounds; not for binary ones, whose rarer value would be taken out.

    Attributes
    ----------
    bandwidth_ : float
        The bandwidth in use: the one given, or the one chosen from the data.
    n_features_in_ : int
        Always 1.
    feature_names_in_ : ndarray of str, shape (1,)
        Name of the column; only after fitting a table with one.

    Notes
    -----
    Local lines where all weight is at one x have no slope; the local mean is returned and `local_fit` flags it. So is a
    quadratic that has two x only, where the line is returned. Weights count observations: a row of weight 2 is the same
    as that row twice, standard errors included, at a given bandwidth; the candidates of ``"auto"`` depend on the rows.
    Weights that sum to less than ``degree + 2``, such as those that sum to one, raise an error where standard errors
    are asked for.

    x may hold dates or durations, of NumPy, Python, pandas or polars. Then the unit of x and of the bandwidth is the
    second, whatever the unit of their type; missing ones (NaT) are refused.

    A robust fit multiplies the weights by ``(1 - (r / 6 s)**2)**2`` (zero beyond 6 s), with r the residual and s the
    median absolute one (Cleveland 1979). Its noise, standard errors and degrees of freedom are those of linear
    smoothing of pseudo-responses (Cleveland, Grosse and Shyu 1992).

    Fitting sorts, O(n log n); a prediction at m points costs O(n + m) for the compact kernels and the exponential one,
    and the number of pairs within ten bandwidths for the Gaussian, and for the exponential one at degree 2. At degree 0
    a fit to n observations and predictions at these take about 110 bytes of memory for each, predictions at n others
    about 260. Ten million observations take 14 to 16 times as long as one million, other points 21 times.

    With metadata routing, `sample_weight` and `groups` reach the estimator where `set_fit_request`,
    `set_predict_request` and `set_score_request` ask for them; without a request `groups` go to the splitter alone.

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
    Cleveland, W. S. (1979). Robust locally weighted regression and smoothing scatterplots. Journal of the American
    Statistical Association 74, 829-836.
    Cleveland, W. S., Grosse, E. and Shyu, W. M. (1992). Local regression models. Statistical Models in S, chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> model = KernelRegressor("triangular", bandwidth=2.0).fit([0.0, 1.0, 2.0], [0.0, 1.0, 4.0])
    >>> model.predict([1.0])
    array([1.5])
    >>> model.loo_predict()
    array([1., 2., 1.])

    With a bandwidth chosen from the data:

    >>> x = np.linspace(0.0, 1.0, 200)
    >>> model = KernelRegressor(degree=1).fit(x, np.sin(6.0 * x) + 0.3 * np.random.default_rng(0).normal(size=200))
    >>> round(model.bandwidth_, 3), model.predict([0.25]).round(2)
    (0.085, array([1.09]))

    Is a prompt still improving at step 90? The slope of its rewards, with 95 % limits:

    >>> step = np.repeat(np.arange(100.0), 4)  # four rollouts a step
    >>> reward = np.random.default_rng(0).random(400) < 0.1 + 0.008 * step
    >>> model = KernelRegressor("epanechnikov", bandwidth=40.0, degree=1).fit(step, reward)
    >>> band = model.confidence_band([90.0], derivative=1)
    >>> band.estimate.round(4), band.lower.round(4), band.upper.round(4)
    (array([0.0129]), array([0.0079]), array([0.0178]))

    The bandwidth by five-fold cross-validation:

    >>> from sklearn.model_selection import GridSearchCV
    >>> x = np.random.default_rng(0).uniform(size=(200, 1))
    >>> search = GridSearchCV(KernelRegressor(empty="nearest"), {"bandwidth": [0.01, 0.1, 1.0]}, cv=5)
    >>> search.fit(x, np.sin(6.0 * x[:, 0])).best_params_
    {'bandwidth': 0.01}
    """

    # scikit-learn takes every parameter but X and y for metadata. Series go to the estimator only where they are asked
    # for, so that those of a splitter such as GroupKFold do not reach it.
    __metadata_request__fit: ClassVar = {"x": UNUSED, "groups": False}
    __metadata_request__predict: ClassVar = {"x0": UNUSED, "groups": False, "derivative": UNUSED}
    __metadata_request__score: ClassVar = {"x": UNUSED, "groups": False}

    def __init__(
        self,
        kernel: KernelName | Kernel = "triangular",
        bandwidth: float | Literal["auto"] = "auto",
        degree: Literal[0, 1, 2] = 0,
        sided: Literal["two", "past"] = "two",
        empty: Literal["nan", "nearest"] = "nan",
        tolerance: float = 0.0,
        robust_iterations: int = 0,
    ):
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.degree = degree
        self.sided = sided
        self.empty = empty
        self.tolerance = tolerance
        self.robust_iterations = robust_iterations

    def fit(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> KernelRegressor:
        """Sort the data.

        Parameters
        ----------
        x : array_like, shape (n,) or (n, 1)
            Points.
        y : array_like, shape (n,)
            Responses, binary ones too.
        sample_weight : array_like, shape (n,), optional
            Non-negative weights, not all zero.
        groups : array_like, shape (n,), optional
            Series of each observation, such as its prompt. Windows stay within a series, as in `select_bandwidth`;
            noise and degrees of freedom are those of all series together.

        Returns
        -------
        KernelRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            For a parameter or data out of range: NaN, NaT, infinities, masked entries, lengths that differ, a bandwidth
            that is not positive, a one-sided kernel with ``sided="two"``; or if no bandwidth can be chosen.

        Warns
        -----
        UserWarning
            As in `select_bandwidth`, of a chosen bandwidth that lies at the end of the candidates.
        """
        check_regressor(self)
        refuse_masked(y, "y")
        if y is not None and np.ndim(y := np.asarray(y)) == 2:
            y = column_or_1d(y, warn=True)  # a column is taken, with scikit-learn's warning
        self._keep(x, y, sample_weight, groups)
        return self

    def predict(self, x0: ArrayLike, groups: ArrayLike | None = None, derivative: int = 0) -> np.ndarray:
        """Estimates at any points.

        Parameters
        ----------
        x0 : array_like, shape (t,) or (t, 1)
            Where; with ``sided="past"`` only observations with x strictly below count.
        groups : array_like, shape (t,), optional
            Series of each point, after fitting with some. One that was not seen has empty windows.
        derivative : int
            Order of the derivative of the curve to estimate, at most `degree`: the coefficient of the local polynomial.
            In units of the response over units of x to that power; NaN where the window determines none.

        Returns
        -------
        ndarray of float64, shape (t,)
            The fit, or its derivative.
        """
        targets = self._targets(x0, groups)
        design, where = self._at(self._design, *targets)
        return self._wanted(design, self._fits(design), derivative)[where]

    def loo_predict(self, leave_out: Literal["observation", "step"] = "observation") -> np.ndarray:
        """Estimates at the observations, each without the observation itself.

        Parameters
        ----------
        leave_out : {"observation", "step"}
            ``"step"`` also leaves the others at the same x out, such as the other rollouts of a step.

        Returns
        -------
        ndarray of float64, shape (n,)
            In the order of the data. With ``sided="past"`` these are the predictions, which never use the observation.
        """
        check_is_fitted(self)
        require_choice("leave_out", leave_out, ("observation", "step"))
        whole_step = leave_out == "step"
        fits = leave_one_out(self._design, **self._smoother, tolerance=self.tolerance, whole_step=whole_step)
        return self._filled(self._design, fits.estimate, self._design.member)

    def plot(
        self,
        x0: ArrayLike | None = None,
        level: float = 0.95,
        noise: Literal["constant", "local"] = "constant",
        truth: Callable[[ArrayLike], ArrayLike] | ArrayLike | None = None,
        group: object = None,
        ax: Axes | None = None,
        *,
        bias_corrected: bool = False,
        simultaneous: bool = False,
    ) -> Axes:
        """Draw the data with a rug, the fit with its limits, and the truth where it is known.

        Parameters
        ----------
        x0 : array_like, shape (t,), optional
            Where to draw the fit; by default 300 points over the range of the data.
        level : float
            As in `confidence_band`.
        noise : {"constant", "local"}
            As in `local_fit`.
        truth : callable or array_like, shape (t,), optional
            The true curve: a function of x0, or its values there.
        group : label, optional
            The series to draw, after fitting with groups.
        ax : matplotlib Axes, optional
            Where to draw; a new figure if missing.
        bias_corrected, simultaneous : bool
            As in `confidence_band`.

        Returns
        -------
        matplotlib Axes
            The drawing; of more than 2,000 observations only so many are drawn.
        """
        check_is_fitted(self)
        if self._labels is not None and group is None:
            raise ValueError("the model was fitted to many series; pass the one to draw as group")
        shown = self._series_of([group] if self._labels is not None else None, 1)
        mine = slice(None) if shown is None else self._series == shown[0]
        if self._x[mine].size == 0:
            raise ValueError(f"no observation is of the series {group!r:.60}")
        if x0 is None:
            x0 = from_seconds(np.linspace(self._x[mine].min(), self._x[mine].max(), 300), self._kind)
        at = check_points(x0)
        groups = None if shown is None else np.full(at.size, group)
        kinds = {"bias_corrected": bias_corrected, "simultaneous": simultaneous}
        band = self.confidence_band(x0, level, noise, groups=groups, **kinds)
        curve = truth(x0) if callable(truth) else truth
        words = [f"{100.0 * level:g} % limits"]
        words += ["bias-corrected"] if bias_corrected else []
        words += ["at all points at once"] if simultaneous else []
        as_dates = self._kind == "dates"
        return draw_fit(ax, self._x[mine], self._y[mine], at, band, ", ".join(words), truth=curve, as_dates=as_dates)

    def score(
        self, x: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> float:
        """Coefficient of determination of the predictions; NaN where one of them is."""
        fitted = self.predict(x, groups)
        return math.nan if np.isnan(fitted).any() else r2_score(y, fitted, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        return tags

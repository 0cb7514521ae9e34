"""The data of a fitted kernel regression, and fits to them at any points of any series."""

from __future__ import annotations

from typing import Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from kvar.kernels import Kernel, KernelName, get_kernel
from kvar.smoothing.bandwidth import select_bandwidth
from kvar.smoothing.data_checks import check_data, check_groups, check_points, kind_of_points
from kvar.smoothing.design import Design
from kvar.smoothing.local_fits import fit_points, nearest
from kvar.smoothing.robust_weights import pseudo_responses, robust_weights
from kvar.utils.checks import require_choice

__all__ = ["FittedSmoother"]


class FittedSmoother:
    """A smoother with the parameters of `KernelRegressor`.

    `_design` has the data that the fits come from and `_linear` those that describe their noise: the same, but for a
    robust fit.
    """

    kernel: KernelName | Kernel
    bandwidth: float | Literal["auto"]
    bandwidth_: float
    degree: Literal[0, 1, 2]
    sided: Literal["two", "past"]
    empty: Literal["nan", "nearest"]
    tolerance: float
    robust_iterations: int

    def _keep(self, x, y, sample_weight, groups):
        """Check and keep the data."""
        kind = kind_of_points(x)
        x, y, weight = check_data(self._points(x, reset=True), y, sample_weight)
        self._kind, self._labels, self._series = kind, None, None
        if groups is not None:
            self._labels, self._series = np.unique(check_groups(groups, y.size), return_inverse=True)
        self._x, self._y = x.copy(), y.copy()
        self._pseudo = self._y
        self._weight = np.ones(y.size) if weight is None else weight.copy()
        self._design = self._linear = Design.build(x, y, weight, self._series)
        self.bandwidth_ = self._chosen_bandwidth() if isinstance(self.bandwidth, str) else self.bandwidth
        if self.robust_iterations > 0:
            self._reweigh()

    def _chosen_bandwidth(self):
        try:
            return select_bandwidth(
                self._x, self._y, kernel=self.kernel, degree=self.degree, sided=self.sided, groups=self._series,
                sample_weight=self._weight, empty=self.empty,
            ).bandwidth  # fmt: skip
        except ValueError as error:
            # In the words that scikit-learn looks for where there is a single one.
            raise ValueError(
                f'bandwidth="auto" cannot choose from n_samples={self._y.size}: {error}; or give a bandwidth'
            ) from None

    def _reweigh(self):
        """Reweight the design, and take pseudo-responses for the responses in all that describes noise."""
        data = self._x, self._y, self._weight
        keep, cut = robust_weights(*data, self._series, self.robust_iterations, **self._smoother)
        self._design = Design.build(self._x, self._y, self._weight * keep, self._series)
        fitted = self._fits(self._design).estimate[self._design.member]
        self._pseudo = pseudo_responses(self._y, self._weight, fitted, cut)
        self._linear = Design.build(self._x, self._pseudo, self._weight, self._series)

    def _points(self, x, reset=False):
        """Points as a vector; scikit-learn keeps (or compares with what it kept) the name of their column."""
        points = check_points(x)
        table = getattr(x, "ndim", 1) == 2 and not isinstance(x, np.ndarray)
        if table or hasattr(self, "feature_names_in_"):
            validate_data(self, x if table else points[:, None], reset=reset, skip_check_array=True)
        else:  # an array has no names, which scikit-learn takes as long to find as a fit to 1,000 points
            self.n_features_in_ = 1
        return points

    @property
    def _smoother(self):
        return {
            "kernel": get_kernel(self.kernel),
            "h": self.bandwidth_,
            "past": self.sided == "past",
            "degree": self.degree,
        }

    def _targets(self, x0, groups) -> tuple[np.ndarray, np.ndarray | None]:
        """Points and the numbers of their series (None for one)."""
        check_is_fitted(self)
        points, kind = self._points(x0), kind_of_points(x0)
        if points.size and kind != self._kind:
            raise ValueError(f"x0 holds {kind}, but the model was fitted to {self._kind}")
        return points, self._series_of(groups, points.size)

    def _series_of(self, groups, size):
        if self._labels is None:
            if groups is not None:
                raise ValueError("groups were given, but the model was fitted without any")
            return None
        if groups is None:
            raise ValueError("the model was fitted to many series; pass the groups of the points too")
        groups = check_groups(groups, size)
        number = np.minimum(np.searchsorted(self._labels, groups), self._labels.size - 1)
        return np.where(self._labels[number] == groups, number, self._labels.size)

    def _at(self, design, points, series):
        """A design that has all the points, and the place of each in it."""
        if np.array_equal(points, self._x) and (self._series is None or np.array_equal(series, self._series)):
            return design, design.member
        return design.with_targets(points, series)

    def _fits(self, design):
        return fit_points(design, **self._smoother, tolerance=self.tolerance)

    def _wanted(self, design, fits, derivative):
        """The fit at every point of the design, or its derivative in units of x."""
        if derivative == 0 and not isinstance(derivative, bool):
            return self._filled(design, fits.estimate, slice(None))
        require_choice("derivative", derivative, (0, 1, 2))
        if derivative > self.degree:
            raise ValueError(f"derivative={derivative} needs degree={derivative} or more, got degree={self.degree}")
        return fits.values[derivative] / self.bandwidth_**derivative

    def _filled(self, design, estimate, where):
        """The estimates, one at each point `where` of the design, with the answer for empty windows filled in."""
        if self.empty == "nan":
            return estimate
        return np.where(np.isnan(estimate), nearest(design, past=self.sided == "past")[where], estimate)

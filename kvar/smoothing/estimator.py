"""What scikit-learn asks of a regressor, without importing scikit-learn."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable

import numpy as np

from kvar.smoothing.validation import check_data

__all__ = ["Estimator", "NotFittedError"]


class NotFittedError(ValueError, AttributeError):
    """Asked for a prediction before `fit`; the bases are those scikit-learn's error of this name has."""


class Estimator:
    """Parameters by name, the score, and how scikit-learn recognises a regressor of one variable."""

    _estimator_type = "regressor"
    predict: Callable

    def score(self, x, y, sample_weight=None):
        """Coefficient of determination of the predictions."""
        x, y, weight = check_data(x, y, sample_weight)
        residual = np.average((y - self.predict(x)) ** 2, weights=weight)
        total = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
        return float(1.0 - residual / total) if total > 0.0 else math.nan

    def get_params(self, deep=True):
        """Parameters by name, as scikit-learn asks for them."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params):
        """Change parameters by name."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"invalid parameter {name!r} for {type(self).__name__}; valid are {sorted(known)}")
            setattr(self, name, value)
        return self

    def __repr__(self):
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(one_d_array=True),
        )

    def _check_fitted(self):
        if not self.__sklearn_is_fitted__():
            error = NotFittedError
            if "sklearn.exceptions" in sys.modules:  # whoever uses it may catch its own error
                error = sys.modules["sklearn.exceptions"].NotFittedError
            raise error(f"this {type(self).__name__} is not fitted yet; call fit first")

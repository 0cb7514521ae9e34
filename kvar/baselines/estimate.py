"""Values with their uncertainty."""

from __future__ import annotations

import dataclasses
from typing import Generic

from kvar.intervals import value_limits
from kvar.rollouts.batch import Batch
from kvar.utils import arrays
from kvar.utils.array_types import ArrayT

__all__ = ["Estimate"]


@dataclasses.dataclass(frozen=True)
class Estimate(Generic[ArrayT]):
    """Values with their uncertainty, as arrays of one shape.

    Attributes
    ----------
    values : array
        One value a rollout.
    standard_error : array
        Standard error of the value as an estimate of the true value; NaN if the method gives none.
    effective_sample_size : array
        Number of rewards of equal weight with the same variance; NaN if the method gives none.
    """

    values: ArrayT
    standard_error: ArrayT
    effective_sample_size: ArrayT

    def in_rows(self, batch: Batch, like) -> Estimate:
        """The estimate in the rows that the batch was made from, in the library, dtype and device of `like`."""
        numbers = (getattr(self, field.name) for field in dataclasses.fields(self))
        return Estimate(*(arrays.like(batch.to_rows(column), like) for column in numbers))

    def limits(self, level: float = 0.95, bounds: tuple[float, float] | None = None) -> tuple[ArrayT, ArrayT]:
        """Confidence limits of the true values.

        Parameters
        ----------
        level : float
            Coverage at each value, between 0 and 1.
        bounds : tuple of float, optional
            Least and largest possible reward. Limits then stay between them: Wilson's for the sample size at which
            rewards of two values would have the standard error. By default limits are normal.

        Returns
        -------
        tuple of arrays
            Lower and upper limits, of the library and shape of `values`; NaN where there is no standard error.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1, or the bounds are no increasing pair of numbers.

        Examples
        --------
        >>> import numpy as np
        >>> estimate = Estimate(np.array([0.02, 0.5]), np.array([0.04, 0.1]), np.array([20.0, 25.0]))
        >>> low, high = estimate.limits(bounds=(0.0, 1.0))
        >>> low.round(2), high.round(2)
        (array([0.  , 0.32]), array([0.16, 0.68]))
        """
        values, error, size = (arrays.to_host(getattr(self, field.name)) for field in dataclasses.fields(self))
        low, high = value_limits(values, error, size, level, bounds)
        return arrays.like(low, self.values), arrays.like(high, self.values)

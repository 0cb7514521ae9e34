"""What is logged of a baseline at every step: how good its values were."""

from __future__ import annotations

import numpy as np

from kvar.baselines import Estimate
from kvar.utils import arrays

__all__ = ["baseline_metrics"]


def baseline_metrics(found: Estimate, rewards, advantages, true_values=None) -> dict[str, float]:
    """Metrics over the scored rollouts of a step, all arrays of one shape; NaN for what the method does not state.

    ``one_step_error`` is the mean of (reward - value)^2: reward noise plus value error. ``standard_error`` is the root
    mean square of the errors that the method itself states, ``value_mse`` the mean squared error against true values.
    ``zero_advantage`` is the fraction of all rollouts without an advantage.
    """
    rewards, advantages, values, errors, sizes = (
        np.asarray(arrays.to_host(column, "a column"))
        for column in (rewards, advantages, found.values, found.standard_error, found.effective_sample_size)
    )
    scored = ~np.isnan(rewards)
    numbers = {
        "value": _mean(values[scored]),
        "one_step_error": _mean((rewards - values)[scored] ** 2),
        "standard_error": np.sqrt(_mean(errors[scored] ** 2)),
        "effective_sample_size": _mean(sizes[scored]),
        "zero_advantage": float((np.abs(advantages) < 1e-8).mean()),
    }
    if true_values is not None:
        numbers["value_mse"] = _mean((values - arrays.to_host(true_values, "true_value"))[scored] ** 2)
    return {name: float(number) for name, number in numbers.items()}


def _mean(numbers: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; NaN if there are none."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if known.size else float("nan")

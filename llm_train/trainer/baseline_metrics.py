"""What is logged of a baseline at every step: how good its values were."""

from __future__ import annotations

import numpy as np

from kvar.baselines import Estimate
from kvar.utils import arrays

__all__ = ["baseline_metrics"]


def baseline_metrics(found: Estimate, rewards, advantages, true_values=None, score_norms=None) -> dict[str, float]:
    """Metrics over the scored rollouts of a step, all arrays of one shape; NaN for what the method does not state.

    ``one_step_error`` is the mean of (reward - value)^2: reward noise plus value error. ``standard_error`` is the root
    mean square of the errors that the method itself states, ``value_mse`` the mean squared error against true values.
    ``zero_advantage`` is the fraction of all rollouts without an advantage. Score norms, where they are known, give W1
    and W0, the mean squared norms of right and wrong rollouts where rewards have two levels, and with true values
    ``second_moment``, ``E[n A^2]`` over that of the oracle: what the baseline adds to R is this less 1.
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
        true_values = arrays.to_host(true_values, "true_value")
        numbers["value_mse"] = _mean((values - true_values)[scored] ** 2)
    if score_norms is not None:
        squares = arrays.to_host(score_norms, "score_norm").astype(np.float64) ** 2
        known = scored & ~np.isnan(squares)
        levels = np.unique(rewards[known])
        if len(levels) == 2:
            for name, level in zip(("wrong", "right"), levels, strict=True):
                numbers[f"squared_norm_{name}"] = _mean(squares[known & (rewards == level)])
        if true_values is not None:
            second_moments = ((squares * errors**2)[known].sum() for errors in (advantages, rewards - true_values))
            numbers["second_moment"] = np.divide(*second_moments)
    return {name: float(number) for name, number in numbers.items()}


def _mean(numbers: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; NaN if there are none."""
    known = numbers[~np.isnan(numbers)]
    return float(known.mean()) if known.size else float("nan")

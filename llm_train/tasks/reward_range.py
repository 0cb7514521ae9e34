"""Another reward for wrong answers than 0."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from llm_train.policy.exact_value import pass_rate_func

__all__ = ["RescaledValue", "rescaled_reward"]


def rescaled_reward(reward: Callable, wrong: float) -> Callable:
    """A reward function of rewards from 0 to 1 with `wrong` in place of 0; completions without a score keep none."""

    @functools.wraps(reward)
    def rescaled_reward_function(*args, **kwargs):
        return [None if r is None else wrong + (1.0 - wrong) * r for r in reward(*args, **kwargs)]

    return rescaled_reward_function


class RescaledValue:
    """Exact values of rewards that were rescaled."""

    def __init__(self, exact_value: Callable, wrong: float):
        self._exact_value, self._wrong = exact_value, wrong
        self.pass_rate = pass_rate_func(exact_value)

    def __call__(self, model, examples: Sequence[dict]) -> list[float]:
        """Values of the examples under a model."""
        return [self._wrong + (1.0 - self._wrong) * value for value in self._exact_value(model, examples)]

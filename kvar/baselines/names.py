"""The names of baselines, for type checkers."""

from typing import Literal

__all__ = ["BaselineName"]

# The registered ones, then the methods that use one of them.
BaselineName = Literal[
    "none", "group-mean", "leave-one-out", "opo", "krpo", "batch-mean", "james-stein", "basis", "running-mean",
    "empirical-bayes", "buffer", "discounted-beta", "kalman", "kernel", "adaptive", "variance-optimal",
    "score-weighted", "oracle", "grpo", "rloo", "reinforce++",
]  # fmt: skip

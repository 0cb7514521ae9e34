"""Distributions of a reward with a given mean: binary, and with heavy tails."""

# ruff: noqa: D102  (the methods are documented in RewardLaw)
from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

__all__ = ["BinaryRewards", "HeavyTailedRewards", "RewardLaw"]


class RewardLaw(ABC):
    """Distribution of a reward with a given mean."""

    @abstractmethod
    def sample(self, mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw rewards."""

    @abstractmethod
    def variance(self, mean: np.ndarray) -> np.ndarray:
        """Variance of a reward."""


@dataclass(frozen=True)
class BinaryRewards(RewardLaw):
    """1 with the mean as its probability, else 0: the verdict of a verifier."""

    def sample(self, mean, rng):
        return (rng.random(np.shape(mean)) < mean).astype(np.float64)

    def variance(self, mean):
        return mean * (1.0 - mean)


@dataclass(frozen=True)
class HeavyTailedRewards(RewardLaw):
    """The mean plus scaled Student's t noise, which breaks the assumption of bounded rewards."""

    scale: float = 0.5  # Standard deviation
    # Degrees of freedom, above 2. At 4 or below the fourth moment is infinite, and so is the variance of any estimate
    # of the noise.
    degrees: float = 2.5

    def sample(self, mean, rng):
        unit = math.sqrt((self.degrees - 2.0) / self.degrees)
        return mean + self.scale * unit * rng.standard_t(self.degrees, size=np.shape(mean))

    def variance(self, mean):
        return np.full(np.shape(mean), self.scale**2)

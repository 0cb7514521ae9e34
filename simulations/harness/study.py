"""What a study is: a config, cells to simulate, and the tables, claims and pictures made of the repetitions."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from kvar.utils.checks import checked_count
from simulations.harness.statistics import Claim

__all__ = ["Study", "StudyConfig"]


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Size of a study.

    Attributes
    ----------
    repetitions : int
        Independent repetitions of each cell, a multiple of `block`.
    block : int
        Repetitions that are simulated together, with a random stream of their own; the unit of parallel work and of
        what is kept when a run is interrupted.
    """

    repetitions: int
    block: int

    def __post_init__(self):
        if checked_count(self.repetitions, "repetitions") % checked_count(self.block, "block"):
            raise ValueError(
                f"repetitions must be a multiple of block, got {self.repetitions} repetitions in blocks of {self.block}"
            )


class Study(ABC):
    """A question, answered by simulation.

    Parameters
    ----------
    config : StudyConfig
        `full` or `quick` of the class, or another.

    Attributes
    ----------
    name : str
        Key in the registry.
    title : str
        The question in one line.
    full, quick : StudyConfig
        The two sizes of `python -m simulations run`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    full: ClassVar[StudyConfig]
    quick: ClassVar[StudyConfig]

    def __init__(self, config: StudyConfig):
        self.config = config

    @abstractmethod
    def cells(self) -> list[dict]:
        """Settings to simulate, as plain values by name; they become columns of the result."""

    @abstractmethod
    def simulate(self, cell: Mapping, repetitions: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Simulate a block of repetitions of one cell, with `rng` as the only source of randomness.

        Returns columns of equal length, among them ``repetition``, which numbers the repetitions of the block from 0.
        """

    @abstractmethod
    def tables(self, rows) -> dict:
        """Condense the repetitions, without failed blocks, into polars frames by name with standard errors."""

    @abstractmethod
    def claims(self, tables: Mapping) -> list[Claim]:
        """Compare the tables with what theory or the project claims; an empty list where the study only shows."""

    @abstractmethod
    def pictures(self, tables: Mapping) -> dict:
        """Draw the tables, as matplotlib figures by name."""

    def remarks(self, tables: Mapping) -> list[str]:
        """Say what the results mean, in sentences with their numbers; none by default."""
        return []

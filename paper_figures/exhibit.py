"""What a figure or a table is: data that carry their key, a claim that is checked, a picture, the paper's numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

__all__ = ["Exhibit", "FalseClaimError", "require"]


class FalseClaimError(Exception):
    """The data do not support a caption; nothing is drawn."""


def require(holds: bool, claim: str, found: str) -> None:
    """Check a part of a caption."""
    if not holds:
        raise FalseClaimError(f"the caption claims that {claim}, but the data say: {found}")


class Exhibit(ABC):
    """A figure or a table.

    Parameters
    ----------
    full : bool
        With all repetitions, or those of a first look.

    Attributes
    ----------
    name : str
        What it is called on the command line, and its files.
    place : str
        Its number in the paper, or that it is ours.
    caption : str
        What it shows and claims; `check` holds it against the data.
    """

    name: ClassVar[str]
    place: ClassVar[str]
    caption: ClassVar[str]

    def __init__(self, full: bool = False):
        self.full = full

    @abstractmethod
    def tables(self) -> dict:
        """Read the data."""

    @abstractmethod
    def compute(self) -> None:
        """Make the data that `tables` reads."""

    @abstractmethod
    def check(self, tables: Mapping) -> None:
        """Hold the caption against the data."""

    @abstractmethod
    def draw(self, tables: Mapping) -> dict | str:
        """Draw, and nothing else."""

    @abstractmethod
    def beside(self, tables: Mapping) -> str:
        """Our numbers, the paper's where the work is of the same kind, and what differs."""

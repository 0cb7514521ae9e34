"""Types of what comes in as numbers, for type checkers."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias, TypeVar

__all__ = ["Array", "ArrayT", "Column", "Ids", "Numbers"]


class Array(Protocol):
    """An array of NumPy, torch or another library of the array API."""

    @property
    def shape(self) -> object:
        """Lengths of the axes."""

    @property
    def dtype(self) -> object:
        """Kind of the entries."""


ArrayT = TypeVar("ArrayT", bound=Array)
# Without a library of its own: the result is NumPy's.
Numbers: TypeAlias = Sequence[float] | Sequence[Sequence[float]]
Column: TypeAlias = Array | Numbers
Ids: TypeAlias = Sequence[int | str] | Array

"""What a figure or a table is, and how it is made: keyed data, a checked caption, a picture, the paper's numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from kvar import plotting
from kvar.utils.atomic_files import atomic_write_text
from simulations.harness.keyed_results import StaleResultError

__all__ = ["COLUMN", "PAGE", "Exhibit", "FalseClaimError", "make", "require"]

# Widths of a column and of a page with two columns, in inches.
COLUMN, PAGE = 3.35, 6.9

_STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    # Text stays text, so that it can be searched and edited.
    "pdf.fonttype": 42,
}


class FalseClaimError(Exception):
    """The data do not support a caption; nothing is drawn."""


def require(holds: bool, claim: str, found: str) -> None:
    """Check a claim of a caption."""
    if not holds:
        raise FalseClaimError(f"the caption claims that {claim}, but the data say: {found}")


class Exhibit(ABC):
    """A figure or a table.

    Parameters
    ----------
    full : bool
        All repetitions, or a first look.
    """

    name: ClassVar[str]  # Name on the command line and of the files
    place: ClassVar[str]  # Number in the paper, or "ours"
    caption: ClassVar[str]  # What the exhibit shows and claims; `check` compares it with the data

    def __init__(self, full: bool = False):
        self.full = full

    @abstractmethod
    def tables(self) -> dict:
        """Read the data, as data frames by name."""

    def compute(self) -> None:
        """Make the data that `tables` reads; by default they cannot be made here, and the error says how."""
        self.tables()

    @abstractmethod
    def check(self, tables: Mapping) -> None:
        """Check the caption, by `require`."""

    @abstractmethod
    def draw(self, tables: Mapping) -> dict | str:
        """Draw figures by name, where "" stands for the only one; or write a table as Markdown."""

    @abstractmethod
    def compare_with_paper(self, tables: Mapping) -> str:
        """Our numbers in words, the paper's if it has such numbers, and the differences between the two set-ups."""


def make(exhibit: Exhibit, folder: Path) -> tuple[str, list[Path]]:
    """Make missing or stale data, check the caption, draw, and write figures as PDF and PNG and a page."""
    from matplotlib import rc_context

    # A figure drawn by an earlier run must not outlive its claim.
    for earlier in (*folder.glob(f"{exhibit.name}.*"), *folder.glob(f"{exhibit.name}-*.*")):
        if earlier.suffix in (".pdf", ".png", ".md"):
            earlier.unlink()
    try:
        tables = exhibit.tables()
    except StaleResultError:
        exhibit.compute()
        tables = exhibit.tables()
    exhibit.check(tables)
    with rc_context(_STYLE):
        drawn = exhibit.draw(tables)
        text = exhibit.compare_with_paper(tables)
        if isinstance(drawn, str):
            text, drawn = f"{drawn}\n\n{text}", {}
        written = [
            plotting.save(figure, folder / f"{exhibit.name}{'-' * bool(part)}{part}{suffix}")
            for part, figure in drawn.items()
            for suffix in (".pdf", ".png")
        ]
    pictures = "".join(f"![]({path.name})\n\n" for path in written if path.suffix == ".png")
    page = folder / f"{exhibit.name}.md"
    atomic_write_text(page, f"# {exhibit.place}: {exhibit.name}\n\n{pictures}{exhibit.caption}\n\n{text}\n")
    return text, [*written, page]

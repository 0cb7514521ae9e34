"""The look of all figures, and how they are written: vector PDF and PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvar import plotting

__all__ = ["COLUMN", "PAGE", "STYLE", "write"]

# Widths of a column and of a page with two, in inches.
COLUMN, PAGE = 3.35, 6.9

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    # Text stays text, so that it can be searched and edited.
    "pdf.fonttype": 42,
}


def write(figures: Mapping, stem: Path) -> list[Path]:
    """Write figures as PDF and PNG."""
    written = []
    for part, figure in figures.items():
        named = stem.with_name(f"{stem.name}-{part}" if part else stem.name)
        written += [plotting.save(figure, named.with_suffix(suffix)) for suffix in (".pdf", ".png")]
    return written

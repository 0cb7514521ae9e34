"""A figure that shows a simulation study."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

from paper_figures.drawing import COLUMN, PAGE
from paper_figures.exhibit import Exhibit
from paper_figures.study_data import sized_study, study_tables, write_study

__all__ = ["StudyExhibit"]


class StudyExhibit(Exhibit):
    """Pictures of a study, at the width of a page or of a column.

    Attributes
    ----------
    study : str
        Name of the study.
    wide : bool
        Whether the pictures have several panels side by side.
    height : float
        Of a picture, in inches.
    """

    study: ClassVar[str]
    wide: ClassVar[bool] = True
    height: ClassVar[float] = 2.6

    def tables(self):
        return study_tables(self.study, self.full)

    def compute(self):
        write_study(self.study, self.full)

    def draw(self, tables):
        drawn = sized_study(self.study, self.full).pictures(tables)
        for figure in drawn.values():
            figure.set_size_inches(PAGE if self.wide else COLUMN, self.height)
        return drawn

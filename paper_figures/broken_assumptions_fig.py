"""The assumptions of the theory, broken one at a time: a study on bandits and given value paths."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

import polars as pl

from paper_figures.exhibit import require
from paper_figures.sources import StudyExhibit

# The assumption, at which end of its settings it is broken most, and which baseline then has less error than which.
_CLAIMS = (
    ("fast drift", max, "adaptive", "kernel"),
    ("score norm", min, "score-weighted", "kernel"),
    ("never again", min, "adaptive", "leave-one-out"),
    ("heavy tails", min, "adaptive", "kernel"),
)


class BrokenAssumptions(StudyExhibit):
    """One picture for each broken assumption."""

    name: ClassVar[str] = "broken-assumptions"
    place: ClassVar[str] = "ours"
    study: ClassVar[str] = "broken-assumptions"
    wide: ClassVar[bool] = False
    height: ClassVar[float] = 2.5
    caption: ClassVar[str] = (
        "Values that jump or drift fast, rewards correlated with the norm of the score, prompts that never come again, "
        "and rewards with heavy tails. Right after a jump kernel has more error than leave-one-out. At the worst "
        "settings adaptive beats kernel under drift and heavy tails, score-weighted beats kernel where the norm "
        "matters, and adaptive beats leave-one-out on prompts that come once. Bars: two standard errors."
    )

    def check(self, tables):
        errors = tables["errors"]
        after = errors.filter(pl.col("x") == 1, broken="jump")
        self._less(after, "leave-one-out", "kernel", "right after a jump")
        for broken, worst, less, more in _CLAIMS:
            kind = errors.filter(broken=broken)
            self._less(kind.filter(x=worst(kind["x"].to_list())), less, more, broken)

    def _less(self, at, less: str, more: str, where: str) -> None:
        (a, a_se), (b, b_se) = (at.filter(baseline=name).select("error", "error_se").row(0) for name in (less, more))
        found = f"{a:.4g} ± {a_se:.2g} against {b:.4g} ± {b_se:.2g}"
        require(b - a > 2 * (a_se**2 + b_se**2) ** 0.5, f"{where}: {less} has less error than {more}", found)

    def compare_with_paper(self, tables):
        lines = [
            "At the worst setting (value MSE; for score norm and never again, excess gradient MSE over the oracle):"
        ]
        for broken, worst, *names in _CLAIMS:
            kind = tables["errors"].filter(broken=broken)
            at = kind.filter(x=worst(kind["x"].to_list()))
            errors = [
                f"{row['baseline']} {row['error']:.3g} ± {row['error_se']:.1g}"
                for row in at.iter_rows(named=True)
                if row["baseline"] in names
            ]
            lines.append(f"- {broken}: {', '.join(errors)}")
        return "\n".join([*lines, "", "The paper states these assumptions and does not break them."])

"""Convergence to the best policy: a study of theorem 3 and corollary 3."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

from paper_figures.exhibit import require
from paper_figures.sources import StudyExhibit

_CLOSE, _FAR = ("adaptive", "kernel"), ("leave-one-out", "group-mean", "none")


class Convergence(StudyExhibit):
    """Suboptimality over training."""

    name: ClassVar[str] = "convergence"
    place: ClassVar[str] = "Figure 2"
    study: ClassVar[str] = "convergence"
    caption: ClassVar[str] = (
        "Left, suboptimality over training of a bandit that satisfies a Polyak-Lojasiewicz condition. Right, the "
        "excess over the oracle at the end. With kernel and adaptive, training ends closer to the best policy than "
        "with group-mean, leave-one-out or no baseline. Bands are two standard errors, bars 95 % intervals."
    )

    def check(self, tables):
        end = self._end(tables)
        for close in _CLOSE:
            for far in _FAR:
                high = end[close]["value"] + 2 * end[close]["standard_error"]
                low = end[far]["value"] - 2 * end[far]["standard_error"]
                require(
                    high < low, f"{close} ends closer than {far}", f"{close} up to {high:.3g}, {far} from {low:.3g}"
                )

    def _end(self, tables) -> dict:
        """Rows of the table ``end`` by baseline, at the best step size for the oracle."""
        end = tables["end"]
        best = end.filter(baseline="oracle").sort("suboptimality")["beta"][0]
        return {row["baseline"]: row for row in end.filter(beta=best).iter_rows(named=True)}

    def compare_with_paper(self, tables):
        excess = [
            f"- {name}: {100 * row['value']:+.0f} ± {100 * row['standard_error']:.0f} %"
            for name, row in self._end(tables).items()
            if name != "oracle"
        ]
        return "\n".join(
            [
                "Excess suboptimality over the oracle at the end of training (± one standard error):",
                *excess,
                "",
                (
                    "The paper has no such number, because the best policy of a language model is unknown. Here: a "
                    "softmax bandit of 16 prompts with exact values, two rollouts per prompt."
                ),
            ]
        )

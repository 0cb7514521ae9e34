"""How to allocate a fixed number of rollouts: a study on bandits."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

from paper_figures.exhibit import require
from paper_figures.sources import StudyExhibit


class Allocation(StudyExhibit):
    """Gradient MSE over the number of rollouts per prompt."""

    name: ClassVar[str] = "allocation"
    place: ClassVar[str] = "ours"
    study: ClassVar[str] = "allocation"
    caption: ClassVar[str] = (
        "Left, gradient MSE times the number of rollouts N of a step, over the number of rollouts G per prompt. Right, "
        "the fraction of the rollouts that adaptive needs for the gradient MSE of group-mean at its best G. It never "
        "needs more, and the saving shrinks with the ratio of reward noise R to prompt noise P. Here group-mean is "
        "scaled to be unbiased, which makes it leave-one-out."
    )

    def check(self, tables):
        at_best = tables["savings"].filter(against="group-mean at its best")
        for row in at_best.iter_rows(named=True):
            found = f"{row['value']:.3f} ± {row['standard_error']:.3f} at R / P = {row['reward_to_prompt']:.0f}"
            claim = "adaptive never needs more rollouts than group-mean"
            require(row["value"] - 2 * row["standard_error"] <= 1, claim, found)
        quarter = max(len(at_best) // 4, 1)
        fractions = at_best.sort("reward_to_prompt")["value"]
        first, last = fractions.head(quarter).mean(), fractions.tail(quarter).mean()
        found = f"{first:.3f} in the quarter of settings with the smallest R / P, {last:.3f} with the largest"
        require(first < last, "savings shrink with R / P", found)

    def compare_with_paper(self, tables):
        lines = ["Fraction of the rollouts that adaptive needs, smallest to largest over settings:"]
        for (against,), group in tables["savings"].group_by(["against"], maintain_order=True):
            lines.append(f"- against {against}: {group['value'].min():.2f} to {group['value'].max():.2f}")
        return "\n".join([*lines, "", "The paper has no such study."])

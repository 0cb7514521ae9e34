"""How to spend a fixed number of rollouts: a study on bandits."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

from paper_figures.exhibit import require
from paper_figures.study_exhibit import StudyExhibit


class Allocation(StudyExhibit):
    """Gradient MSE over the number of rollouts a prompt."""

    name: ClassVar[str] = "allocation"
    place: ClassVar[str] = "ours"
    study: ClassVar[str] = "allocation"
    caption: ClassVar[str] = (
        "Gradient MSE times the number of rollouts N of a step, over the rollouts G of a prompt, and the share of "
        "rollouts that adaptive needs for the gradient of the group's mean at its best G. It never needs more, and "
        "what it saves shrinks as the noise of rollouts R outgrows that of prompts P."
    )

    def check(self, tables):
        at_best = tables["savings"].filter(against="group-mean at its best")
        for row in at_best.iter_rows(named=True):
            found = f"{row['value']:.3f} ± {row['standard_error']:.3f} at R / P = {row['reward_to_prompt']:.0f}"
            claim = "adaptive never needs more rollouts than the group's mean"
            require(row["value"] - 2 * row["standard_error"] <= 1, claim, found)
        quarter = max(len(at_best) // 4, 1)
        shares = at_best.sort("reward_to_prompt")["value"]
        first, last = shares.head(quarter).mean(), shares.tail(quarter).mean()
        require(
            first < last, "savings shrink with R / P", f"{first:.3f} where it is small, {last:.3f} where it is large"
        )

    def beside(self, tables):
        lines = ["Share of rollouts that adaptive needs, smallest to largest over settings:"]
        for (against,), group in tables["savings"].group_by(["against"], maintain_order=True):
            lines.append(f"- against {against}: {group['value'].min():.2f} to {group['value'].max():.2f}")
        return "\n".join([*lines, "", "The paper has no such study."])

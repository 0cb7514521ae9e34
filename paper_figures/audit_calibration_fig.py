"""How well the audit estimates value MSE, and the value MSE at the group size it advises, without exact values."""

# ruff: noqa: D102  (the methods are documented in Exhibit)
from __future__ import annotations

from typing import ClassVar

import numpy as np

from kvar import plotting
from paper_figures import audit_calibration_data
from paper_figures.exhibit import PAGE, require
from paper_figures.sources import RecordedRunsExhibit

_COVERED = 0.9


class AuditCalibration(RecordedRunsExhibit):
    """Estimates against the truth."""

    name: ClassVar[str] = "audit-calibration"
    place: ClassVar[str] = "ours"
    data = audit_calibration_data
    caption: ClassVar[str] = (
        "Left, the value MSE that the audit estimates without exact values, with 95 % intervals, against the true one, "
        "with a point for each baseline and recorded run; at least 90 % of the intervals cover the truth. Right, the "
        "value MSE estimated at the advised group size, with two standard errors, against the true one."
    )

    def check(self, tables):
        inside = tables["audit_calibration"]["inside"].mean()
        require(inside >= _COVERED, f"at least {_COVERED:.0%} of the intervals cover the truth", f"{inside:.1%}")

    def draw(self, tables):
        frame = tables["audit_calibration"]
        figure, (left, right) = plotting.new_figure(PAGE, 3.3, widths=(1, 1))
        floor = float(frame["truth"].min()) / 2
        for (label,), rows in frame.group_by(["baseline"], maintain_order=True):
            style = plotting.baseline_style(label.partition(" ")[0]) | {"linestyle": "none"}
            place, low, high = (np.maximum(rows[c].to_numpy(), floor) for c in ("estimate", "low", "high"))
            left.errorbar(
                rows["truth"], place, (place - low, high - place), elinewidth=0.5, markersize=3.5, label=label, **style
            )
        advice = tables["audit_calibration_groups"].drop_nulls("advised")
        right.errorbar(
            advice["true"], advice["promised"], 2 * advice["standard_error"], fmt="D", markersize=3.5, elinewidth=0.6,
            color=plotting.baseline_style("adaptive")["color"],
        )  # fmt: skip
        for axes, title in ((left, "value MSE of a baseline"), (right, "value MSE at the advised group size")):
            axes.set(xscale="log", yscale="log", xlabel="true", ylabel="estimated", title=title)
            ends = np.array([*axes.get_xlim(), *axes.get_ylim()])
            axes.plot([ends.min(), ends.max()], [ends.min(), ends.max()], color="black", linewidth=0.7, zorder=0)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, columnspacing=1)
        return {"": figure}

    def compare_with_paper(self, tables):
        frame, advice = tables["audit_calibration"], tables["audit_calibration_groups"].drop_nulls("advised")
        near = (advice["true"] / advice["promised"] - 1).abs() <= 0.1
        kept = advice["true"] <= 1.1 * advice["true_reference"]
        return "\n".join(
            [
                (
                    f"- the true value MSE lies in the 95 % interval in {frame['inside'].sum()} of {len(frame)} pairs "
                    f"of run and baseline, {frame['inside'].mean():.1%}"
                ),
                f"- at the advised group size it is within 10 % of its estimate on {near.sum()} of {len(advice)} runs",
                f"- and at most 1.1 times that of group-mean with whole groups on {kept.sum()} of {len(advice)} runs",
                "",
                "The paper has no audit.",
            ]
        )

"""The main figure of an audit: one score of every baseline with its interval."""

from __future__ import annotations

import numpy as np

from kvar.auditing.findings import AuditFindings
from kvar.plotting import baseline_style, new_figure

__all__ = ["audit_picture", "shown_score"]

_LABELS = {
    "gradient_error": "gradient error",
    "value_mse": "value MSE",
    "estimated_value_mse": "estimated value MSE",
    "one_step_error": "one-step-ahead squared error",
}


def audit_picture(report: AuditFindings, width: float = 6.4):
    """Draw the score of each baseline with its interval."""
    from matplotlib import ticker

    name = shown_score(report)
    logarithmic = name not in ("one_step_error", "gradient_error")
    rows = [row for row in report.rows if not np.isnan(getattr(row, name).mean) and row.baseline != "oracle"][::-1]
    scores = [getattr(row, name) for row in rows]
    # A logarithmic axis has no place for zero and less: such an interval is drawn to the edge.
    floor = min((s.mean for s in scores if s.mean > 0), default=1.0) / 3 if logarithmic else -np.inf
    figure, (axes,) = new_figure(width, 0.9 + 0.42 * len(rows))
    for place, (row, score) in enumerate(zip(rows, scores, strict=True)):
        style, mean = baseline_style(row.baseline), max(score.mean, floor)
        if not np.isnan(score.low):
            axes.plot(
                [max(score.low, floor), max(score.high, floor)], [place, place], color=style["color"], linewidth=2
            )
        axes.plot(mean, place, color=style["color"], marker=style["marker"])
        axes.annotate(f"{score.mean:.3g}", (mean, place), (0, 7), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.3)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if width > 6 else (1,)))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    label = _LABELS[name]
    axes.set_xlabel(f"{label} (95 % interval over prompts and steps)" if width > 6 else label)
    axes.grid(axis="x", alpha=0.25)
    return figure


def shown_score(report: AuditFindings) -> str:
    """Name of the score in the main figure: of the gradient if known, else the value MSE, else the one-step error."""
    if report.by_gradient:
        return "gradient_error"
    if report.knows_truth:
        return "value_mse"
    return "estimated_value_mse" if any(row.estimated_value_mse.mean > 0 for row in report.rows) else "one_step_error"

"""The figures of an audit's page, as SVG that takes the colours of text and lines from the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape

import numpy as np

from kvar.auditing.error_picture import audit_picture, shown_score
from kvar.auditing.findings import AuditFindings
from kvar.plotting import baseline_style, new_figure

__all__ = ["Picture", "drawing_style", "pictures", "svg"]

# Stand-ins that no figure uses otherwise, replaced by colours of the page, which differ in light and dark mode.
_INK, _FAINT = "#010203", "#040506"
_SHOWN_OVER_TIME = 5

Picture = tuple[str, str, str]


def pictures(report: AuditFindings) -> list[Picture]:
    """Title, caption and SVG of each figure that the findings have data for."""
    makers: list[Callable[[AuditFindings], tuple[str, str, object] | None]] = [
        _scores,
        _group_sizes,
        _windows,
        _over_time,
        _rewards,
        _gaps,
    ]
    with drawing_style():
        drawn = [made for made in (make(report) for make in makers) if made is not None]
        return [(title, caption, svg(figure, f"{title}. {caption}")) for title, caption, figure in drawn]


def drawing_style():
    """Settings of matplotlib for a picture that `svg` fits to the page; a context manager."""
    import matplotlib

    ink = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "kvar",
            "font.size": 9,
            "font.family": "sans-serif",
            "axes.grid": False,
            "grid.color": _FAINT,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            **dict.fromkeys(ink, _INK),  # type: ignore[arg-type]
        }
    )


def svg(figure, text: str) -> str:
    """The drawing as SVG in the colours of the page, with a text for those who do not see it."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    drawing = file.getvalue()
    label = f'<svg role="img" aria-label="{escape(text)}"'
    drawing = label + drawing[drawing.index("<svg") + len("<svg") :]
    drawing = re.sub("<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    for stand_in, meaning in ((_INK, "currentColor"), (_FAINT, "var(--faint)"), ("#000000", "currentColor")):
        drawing = drawing.replace(stand_in, meaning)
    return drawing


def _scores(report: AuditFindings):
    caption = {
        "gradient_error": (
            "Squared error of each baseline's value as a prediction of a reward that it has not seen, weighted by the "
            "squared norm of the score: the part of the gradient's variance that the baseline moves."
        ),
        "value_mse": "Mean squared error of each baseline's values against the true values, which this trace holds.",
        "estimated_value_mse": (
            "Estimated mean squared error of each baseline's values against the true values: its error in predicting "
            "rewards that it has not seen, less their noise."
        ),
        "one_step_error": "Squared error of each baseline's value as a prediction of a reward that it has not seen.",
    }[shown_score(report)]
    return "Which baseline", caption + " Bars are 95 % intervals.", audit_picture(report, width=4.8)


def _group_sizes(report: AuditFindings):
    study = report.group_sizes
    if study is None or len(study.rows) < 2:
        return None
    figure, (axes,) = new_figure(4.8, 2.8)
    sizes = [row.size for row in study.rows]
    _band(axes, sizes, [row.value_mse for row in study.rows], baseline_style(study.baseline)["color"], study.baseline)
    reference = study.reference.mean
    axes.axhline(reference, color=baseline_style("group-mean")["color"], linestyle="--", linewidth=1.3)
    axes.annotate(
        f"group-mean with all {study.full}", (sizes[-1], reference), (0, 4), textcoords="offset points", ha="right"
    )
    if study.advised is not None and study.advised.size < study.full:
        axes.plot(study.advised.size, study.advised.value_mse.mean, "o", markersize=9, fillstyle="none", color=_INK)
    _sizes_axis(axes, sizes)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rollouts kept of every group")
    axes.set_ylabel("estimated value MSE")
    caption = (
        f"Value MSE of {study.baseline} when only the first rollouts of every group are kept. The circle marks the "
        "smallest group whose value MSE is not above that of group-mean with whole groups."
    )
    return "How many rollouts", caption, figure


def _windows(report: AuditFindings):
    study = report.windows
    if study is None or len(study.windows) < 2:
        return None
    figure, (axes,) = new_figure(4.8, 2.6)
    scores = study.value_mse
    if any(np.isnan(score.mean) for score in scores):
        scores, name = study.above_best, "error above the best window"
    else:
        name = "estimated value MSE"
    _band(axes, study.windows, scores, baseline_style("kernel")["color"], "kernel")
    _sizes_axis(axes, study.windows)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("window of the kernel baseline, in steps")
    axes.set_ylabel(name)
    caption = "The kernel baseline with one window for the whole run. Short windows forget, long ones lag behind."
    return "Which window", caption, figure


def _over_time(report: AuditFindings):
    rows = [row for row in report.rows if row.baseline != "oracle" and not np.isnan(row.one_step_error.mean)]
    usual = [row for row in rows if row.baseline == "group-mean"]
    rows = rows[:_SHOWN_OVER_TIME] + [row for row in usual if row not in rows[:_SHOWN_OVER_TIME]]
    if len(rows) < 2 or len(rows[0].by_part) < 4:
        return None
    figure, (axes,) = new_figure(4.8, 2.8)
    steps = np.linspace(0, report.facts.n_steps, len(rows[0].by_part) + 1)
    middle = (steps[1:] + steps[:-1]) / 2
    for rank, row in enumerate(rows):
        style = ("-", "--", "-.", ":")[rank % 4]
        axes.plot(
            middle, row.by_part, style, color=baseline_style(row.baseline)["color"], label=row.label, linewidth=1.5
        )
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    axes.set_xlabel("logged step")
    axes.set_ylabel("one-step-ahead error")
    caption = (
        "The best baselines and group-mean in successive parts of the run. The noise of the rewards moves all curves "
        "together; only their distance matters."
    )
    return "Over the run", caption, figure


def _rewards(report: AuditFindings):
    facts = report.facts
    if facts.n_steps < 4:
        return None
    wasted = facts.zero_variance_groups == facts.zero_variance_groups
    figure, panels = new_figure(4.8, 3.2 if wasted else 2.0, heights=(2, 1) if wasted else (1,))
    _series(panels[0], facts.step_means)
    panels[0].set_ylabel("mean reward")
    if wasted:
        _series(panels[1], facts.step_wasted)
        panels[1].set_ylabel("wasted")
        panels[1].set_ylim(0, 1)
    panels[-1].set_xlabel("logged step")
    caption = "Mean reward of each step, and its running mean."
    if wasted:
        caption += (
            " Below, the fraction of rollouts in groups with equal rewards, from which a group baseline learns nothing."
        )
    return "The run itself", caption, figure


def _gaps(report: AuditFindings):
    counts = report.facts.gap_counts
    seen = np.flatnonzero(counts)
    if not len(seen):
        return None
    figure, (axes,) = new_figure(4.8, 2.0)
    edges = np.unique(np.geomspace(1, seen[-1] + 1, 25).astype(int))
    fractions = (
        np.add.reduceat(np.append(counts, 0)[: edges[-1]], edges[:-1]) / counts.sum() if len(edges) > 1 else [1.0]
    )
    axes.bar(edges[:-1], fractions, np.diff(edges), align="edge", color="#56B4E9", edgecolor="none")
    _sizes_axis(axes, [1, *(2**k for k in range(1, 20) if 2**k <= seen[-1])])
    axes.set_xlabel("steps until a prompt comes back")
    axes.set_ylabel("fraction of visits")
    return "How soon prompts return", "The sooner prompts return, the more of its history a baseline can use.", figure


def _series(axes, values: np.ndarray) -> None:
    place = np.arange(len(values))
    axes.plot(place, values, color="#56B4E9", linewidth=0.8, alpha=0.5)
    width = max(len(values) // 20, 1)
    kept = ~np.isnan(values)
    total, count = (np.convolve(x, np.ones(width), "valid") for x in (np.where(kept, values, 0.0), kept))
    with np.errstate(invalid="ignore"):
        axes.plot(place[width - 1 :] - (width - 1) / 2, total / count, color="#0072B2", linewidth=1.6)


def _band(axes, places, scores, colour: str, label: str) -> None:
    axes.plot(places, [score.mean for score in scores], "o-", color=colour, label=label, linewidth=1.6, markersize=4)
    low, high = ([getattr(score, name) for score in scores] for name in ("low", "high"))
    axes.fill_between(places, np.maximum(low, 0.0), high, color=colour, alpha=0.2, linewidth=0)


def _sizes_axis(axes, places) -> None:
    from matplotlib import ticker

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(ticker.FixedLocator(list(places)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_locator(ticker.NullLocator())

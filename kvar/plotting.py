"""Pictures of what the toolkit finds. Needs matplotlib, which is imported when a picture is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kvar.files import whole_file

__all__ = ["audit_picture", "baseline_style", "new_figure", "save", "shown_score", "value_error_picture"]

# Colours of Okabe and Ito (2008) and of Tol (2021), told apart with every common colour vision; a marker besides, for
# pictures in grey.
_STYLES = {
    "none": ("#7F7F7F", "x", "-"),
    "group-mean": ("#D55E00", "s", "-"),
    "leave-one-out": ("#E69F00", "^", "-"),
    "opo": ("#88CCEE", "1", "--"),
    "krpo": ("#661100", "2", ":"),
    "batch-mean": ("#009E73", "v", "-"),
    "james-stein": ("#AA4499", "<", "--"),
    "basis": ("#44AA99", "3", ":"),
    "running-mean": ("#CC79A7", "P", "-."),
    "empirical-bayes": ("#999933", "h", "--"),
    "buffer": ("#117733", "d", "--"),
    "discounted-beta": ("#56B4E9", ">", "-"),
    "kalman": ("#332288", "p", "-."),
    "kernel": ("#0072B2", "o", "-"),
    "adaptive": ("#D81B60", "D", "-"),
    "oracle": ("#000000", "*", "-"),
    "critic": ("#DDCC77", "X", "-."),
    "score-weighted": ("#882255", "8", "--"),
}
_UNKNOWN = ("#56B4E9", ".", ":")

_LABELS = {
    "value_mse": "mean squared error against the true value",
    "estimated_value_mse": "estimated mean squared error of the value",
    "one_step_error": "one-step-ahead squared error",
}


def baseline_style(name: str) -> dict:
    """How a baseline is drawn in all pictures.

    Parameters
    ----------
    name : str
        A registered baseline.

    Returns
    -------
    dict
        Colour, marker, line style and width, as matplotlib takes them; one style for all that are not registered.
    """
    colour, marker, dashes = _STYLES.get(name, _UNKNOWN)
    width = 2.0 if name in ("adaptive", "kernel") else 1.2
    return {"color": colour, "marker": marker, "linestyle": dashes, "linewidth": width}


def new_figure(width: float, height: float, heights: tuple[int, ...] = (1,)):
    """A figure and its panels, one below the other on one horizontal axis.

    Parameters
    ----------
    width, height : float
        In inches.
    heights : tuple of int
        Heights of the panels, as ratios.

    Returns
    -------
    matplotlib.figure.Figure
        Without a window.
    ndarray of matplotlib.axes.Axes
        From top to bottom.
    """
    # Without pyplot no window system is asked for and no figure stays open.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save(figure, path: str | os.PathLike) -> Path:
    """Write a figure.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        What to write.
    path : path
        Where; its suffix decides the format, and the file appears whole or not at all.

    Returns
    -------
    Path
        The file.
    """
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:], dpi=160)
    return Path(path)


def audit_picture(report, width: float = 6.4):
    """Draw the score of each baseline with its interval.

    Parameters
    ----------
    report : AuditReport
        What an audit found.
    width : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        Value MSE on a logarithmic axis, against the truth where it is known and estimated where not; the one-step-ahead
        error where it can be neither. Baselines without a score, and the oracle, are left out.
    """
    from matplotlib import ticker

    name = shown_score(report)
    logarithmic = name != "one_step_error"
    rows = [row for row in report.rows if not np.isnan(getattr(row, name).mean) and row.baseline != "oracle"][::-1]
    scores = [getattr(row, name) for row in rows]
    # A logarithmic axis has no place for what lies at or below zero: such an interval runs to the edge.
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


def shown_score(report) -> str:
    """Which score of an audit is shown.

    Parameters
    ----------
    report : AuditReport
        What an audit found.

    Returns
    -------
    {"value_mse", "estimated_value_mse", "one_step_error"}
        The one that says most of what is known.
    """
    if report.knows_truth:
        return "value_mse"
    return "estimated_value_mse" if any(row.estimated_value_mse.mean > 0 for row in report.rows) else "one_step_error"


def value_error_picture(steps: np.ndarray, curves: Mapping[str, np.ndarray], reward: np.ndarray):
    """Draw value MSE over training, a line a baseline, above the reward that the run reached.

    Parameters
    ----------
    steps : ndarray, shape (S,)
        Training steps.
    curves : mapping of str to ndarray of shape (S,)
        Value MSE of each baseline at each step.
    reward : ndarray, shape (S,)
        Mean reward at each step.

    Returns
    -------
    matplotlib.figure.Figure
        Two panels with one time axis; the MSE is logarithmic.
    """
    figure, (upper, lower) = new_figure(7.2, 5.4, heights=(3, 1))
    for name, curve in curves.items():
        upper.plot(steps, curve, label=name, markersize=4, markevery=0.2, **baseline_style(name))
    upper.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    upper.set_yscale("log")
    upper.set_ylabel("value MSE")
    lower.plot(steps, reward, color="#333333", linewidth=1.3)
    lower.set_ylabel("mean reward")
    lower.set_xlabel("training step")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    return figure

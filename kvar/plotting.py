"""Pictures of what the toolkit finds. Needs matplotlib, which is imported when a picture is drawn."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kvar.files import whole_file

__all__ = ["audit_picture", "save", "value_error_picture"]

# Okabe and Ito (2008): told apart with every common colour vision.
_COLOURS = {
    "adaptive": "#D81B60",
    "kernel": "#0072B2",
    "group-mean": "#D55E00",
    "leave-one-out": "#E69F00",
    "batch-mean": "#009E73",
    "running-mean": "#CC79A7",
    "none": "#7F7F7F",
    "oracle": "#000000",
}
_OTHER = "#56B4E9"


def _line(name: str, rank: int) -> dict:
    """How a baseline's line is drawn: those in common use by a colour of their own, the rest by colour and dashes."""
    if name in _COLOURS:
        return {"color": _COLOURS[name], "linewidth": 2 if name in ("kernel", "adaptive") else 1.3}
    return {"color": f"C{rank % 10}", "linewidth": 1.1, "linestyle": ("--", ":", "-.")[rank % 3]}


def _figure(width: float, height: float, heights: tuple[int, ...] = (1,)):
    """A figure and its panels, one below the other on one horizontal axis."""
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


def audit_picture(report):
    """Draw the score of each baseline with its interval.

    Parameters
    ----------
    report : AuditReport
        What an audit found.

    Returns
    -------
    matplotlib.figure.Figure
        Value MSE on a logarithmic axis where the truth is known, else the one-step-ahead error.
    """
    from matplotlib import ticker

    known = any(row.value_mse is not None for row in report.rows)
    rows = [row for row in report.rows if not (known and row.baseline == "oracle")][::-1]
    scores = [row.value_mse if known else row.one_step_error for row in rows]
    # A logarithmic axis has no place for a limit at or below zero: such an interval runs to the edge.
    floor = min((s.mean for s in scores if s.mean > 0), default=1.0) / 3 if known else -np.inf
    figure, (axes,) = _figure(6.4, 0.9 + 0.42 * len(rows))
    for place, (row, score) in enumerate(zip(rows, scores, strict=True)):
        colour = _COLOURS.get(row.baseline, _OTHER)
        if not np.isnan(score.low):
            axes.plot([max(score.low, floor), score.high], [place, place], color=colour, linewidth=2)
        axes.plot(score.mean, place, "o", color=colour)
        if not np.isnan(score.mean):
            axes.annotate(f"{score.mean:.3g}", (score.mean, place), (0, 7), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.margins(y=0.15)
    if known:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
        axes.set_xlabel("mean squared error against the true value (95 % interval over prompts and steps)")
    else:
        axes.set_xlabel("one-step-ahead squared error (95 % interval over prompts and steps)")
    axes.grid(axis="x", alpha=0.25)
    return figure


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
    figure, (upper, lower) = _figure(7.2, 5.4, heights=(3, 1))
    for rank, (name, curve) in enumerate(curves.items()):
        upper.plot(steps, curve, label=name, **_line(name, rank))
    upper.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    upper.set_yscale("log")
    upper.set_ylabel("value MSE")
    lower.plot(steps, reward, color="#333333", linewidth=1.3)
    lower.set_ylabel("mean reward")
    lower.set_xlabel("training step")
    for axes in (upper, lower):
        axes.grid(alpha=0.25)
    return figure

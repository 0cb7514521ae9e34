"""The look of all figures: size, panels, and a style for each baseline. Matplotlib is imported only to draw."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from kvar.utils.atomic_files import atomic_write

__all__ = ["baseline_style", "new_figure", "save", "value_error_picture"]

# Colours of Okabe and Ito (2008) and of Tol (2021), which every common colour vision tells apart. Markers differ too,
# for figures in grey.
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
    "variance-optimal": ("#CC6677", "H", "-"),
    "score-weighted": ("#882255", "8", "--"),
}
_UNKNOWN = ("#56B4E9", ".", ":")


def baseline_style(name: str) -> dict:
    """Colour, marker and line of a baseline, the same in all figures."""
    colour, marker, dashes = _STYLES.get(name, _UNKNOWN)
    width = 2.0 if name in ("adaptive", "kernel", "variance-optimal") else 1.2
    return {"color": colour, "marker": marker, "linestyle": dashes, "linewidth": width}


def new_figure(
    width: float,
    height: float,
    heights: tuple[float, ...] = (1,),
    widths: tuple[float, ...] = (1,),
    sharex: Literal["col", "all", "none"] = "col",
    grid: bool = False,
):
    """A figure of so many inches and its panels in one flat array, row by row.

    There is a row for every relative height and a column for every relative width. By default the panels of a column
    share their horizontal axis.
    """
    # Without pyplot no window system is asked for and no figure stays open.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(
        len(heights), len(widths), sharex=sharex, height_ratios=heights, width_ratios=widths, squeeze=False
    ).ravel()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(alpha=0.25)
    return figure, panels


def save(figure, path: str | os.PathLike) -> Path:
    """Write a figure in the format of the file's extension."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=Path(path).suffix[1:], dpi=160)
    return Path(path)


def value_error_picture(steps: np.ndarray, curves: Mapping[str, np.ndarray], reward: np.ndarray):
    """Draw the value MSE of each baseline over training, above the mean reward of the run."""
    figure, (upper, lower) = new_figure(7.2, 5.4, heights=(3, 1), grid=True)
    for name, curve in curves.items():
        upper.plot(steps, curve, label=name, markersize=4, markevery=0.2, **baseline_style(name))
    upper.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    upper.set_yscale("log")
    upper.set_ylabel("value MSE")
    lower.plot(steps, reward, color="#333333", linewidth=1.3)
    lower.set_ylabel("mean reward")
    lower.set_xlabel("training step")
    return figure

"""What the pictures of all studies share."""

from __future__ import annotations

__all__ = ["line", "panels", "ticks"]

# Okabe and Ito (2008), as in the pictures of the toolkit: told apart with every common colour vision.
_COLOURS = {
    "adaptive": "#D81B60",
    "kernel": "#0072B2",
    "group-mean": "#D55E00",
    "leave-one-out": "#E69F00",
    "batch-mean": "#009E73",
    "discounted-beta": "#56B4E9",
    "score-weighted": "#CC79A7",
    "optimal": "#009E73",
    "james-stein": "#CC79A7",
    "kernel, rewards clipped": "#56B4E9",
    "none": "#7F7F7F",
    "oracle": "#000000",
}


def line(name: str) -> dict:
    """How a baseline is drawn.

    Parameters
    ----------
    name : str
        The baseline.

    Returns
    -------
    dict
        Colour and width, as matplotlib takes them.
    """
    style = {"color": _COLOURS[name]} if name in _COLOURS else {}
    return style | {"linewidth": 2.0 if name in ("adaptive", "kernel") else 1.3}


def panels(n: int, *, height: float = 3.4, width: float = 4.2):
    """A figure with panels side by side.

    Parameters
    ----------
    n : int
        Number of panels.
    height, width : float
        Of one panel, in inches.

    Returns
    -------
    figure : matplotlib.figure.Figure
        The figure.
    axes : ndarray of matplotlib.axes.Axes, shape (n,)
        Its panels.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n + 0.6, height), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
    return figure, axes


def ticks(axes, values) -> None:
    """Mark the settings that were simulated, and nothing between them, on a horizontal axis.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Whose axis.
    values : sequence of float
        The settings.
    """
    from matplotlib import ticker

    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(ticker.NullLocator())

"""What the pictures of all studies share."""

from __future__ import annotations

from kvar import plotting

__all__ = ["line", "panels", "ticks"]

# What is no registered baseline, by the one whose looks it takes.
_LOOKS_LIKE = {"score-weighted": "running-mean", "optimal": "batch-mean", "kernel, rewards clipped": "discounted-beta"}


def line(name: str) -> dict:
    """How a baseline is drawn."""
    return {**plotting.baseline_style(_LOOKS_LIKE.get(name, name)), "markersize": 4}


def panels(n: int, *, height: float = 3.4, width: float = 4.2):
    """A figure with panels side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * n + 0.6, height), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
    return figure, axes


def ticks(axes, values) -> None:
    """Mark the settings that were simulated, and nothing between them, on a horizontal axis."""
    from matplotlib import ticker

    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(ticker.NullLocator())

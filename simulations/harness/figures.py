"""Drawing that all studies share."""

from __future__ import annotations

from kvar import plotting

__all__ = ["line", "panels", "ticks"]

# Curves that are no registered baseline, and the baseline whose style they take.
_LOOKS_LIKE = {
    "score-weighted": "running-mean",
    "optimal": "batch-mean",
    "kernel, rewards clipped": "discounted-beta",
    "batch-mean, others": "batch-mean",
    "one number": "running-mean",
}


def line(name: str) -> dict:
    """How a baseline is drawn."""
    return {**plotting.baseline_style(_LOOKS_LIKE.get(name, name)), "markersize": 4}


def panels(n: int, *, height: float = 3.4, width: float = 4.2):
    """A figure with n panels next to each other, each of so many inches."""
    return plotting.new_figure(width * n + 0.6, height, widths=(1,) * n, grid=True)


def ticks(axes, values) -> None:
    """Mark the simulated settings, and nothing between them, on the horizontal axis."""
    from matplotlib import ticker

    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(ticker.NullLocator())

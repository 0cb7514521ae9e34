"""The picture of a kernel regression: data, rug, fit, band and, where it is known, the true curve."""

from __future__ import annotations

import numpy as np

from kvar.utils.extras import new_axes

__all__ = ["draw_fit"]

# Observations drawn at most; more are thinned evenly along x, since a picture shows no more and takes minutes.
_MOST = 2000


def draw_fit(ax, x, y, at, band, limits, *, truth=None, as_dates=False):
    """Draw on axes (new ones if None) and return them; x and `at` are seconds where they are `as_dates`."""
    ax = new_axes() if ax is None else ax
    order = np.argsort(x, kind="stable")[:: max(1, -(-x.size // _MOST))]

    def shown(points):
        return (1e6 * points).astype("datetime64[us]") if as_dates else points

    ax.plot(shown(x[order]), y[order], ".", color="0.75", markersize=3, zorder=0)
    ax.plot(shown(x[order]), np.zeros(order.size), "|", color="0.4", transform=ax.get_xaxis_transform(), clip_on=False)
    ax.fill_between(shown(at), band.lower, band.upper, color="C0", alpha=0.25, linewidth=0.0)
    ax.plot(shown(at), band.estimate, color="C0", label=f"fit, {limits}")
    if truth is not None:
        ax.plot(shown(at), truth, color="black", linestyle="--", label="truth")
    ax.legend()
    return ax

"""The picture of the README: ``python -m paper_figures.readme_picture`` draws docs/value_error.png from a kept run.

Four baselines only; `python -m paper_figures value-error` draws all of them, from the run of `make reproduce`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kvar
from kvar import plotting

_RUN = Path("recorded_runs/block-g4.parquet")
_OUT = Path("docs/value_error.png")
_SHOWN = ("batch-mean", "group-mean", "kernel", "adaptive")
# Steps of a point: two mini-batches of this run, each of which is kept for ten.
_BLOCK = 20


def curves(trace) -> dict[str, np.ndarray]:
    """Value MSE of each shown baseline, averaged over each block of steps."""
    blocks = np.unique((trace.step - trace.step.min()) // _BLOCK, return_inverse=True)[1]
    squares = {name: (kvar.replay(trace, name) - trace.extras["true_value"]) ** 2 for name in _SHOWN}
    return {name: np.bincount(blocks, weights=square) / np.bincount(blocks) for name, square in squares.items()}


def draw(found: dict[str, np.ndarray]):
    """Draw the curves, each with its name at its end."""
    figure, (axes,) = plotting.new_figure(7.2, 3.0)
    for name, curve in found.items():
        steps = _BLOCK * (np.arange(len(curve)) + 0.5)
        style = plotting.baseline_style(name)
        axes.plot(steps, curve, markersize=4, markevery=5, **style)
        at = axes.get_yaxis_transform()
        axes.text(1.01, curve[-3:].mean(), name, transform=at, color=style["color"], va="center")
    axes.set(yscale="log", xlabel="training step", ylabel="value MSE")
    axes.grid(alpha=0.25)
    return figure


if __name__ == "__main__":
    print(f"Picture: {plotting.save(draw(curves(kvar.read_trace(_RUN))), _OUT)}")

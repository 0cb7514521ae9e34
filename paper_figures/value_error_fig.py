"""Value error over training, the figure: draws what ``value_error_data`` wrote, and nothing else."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

from kvar import plotting


def block_means(values: np.ndarray, block: int) -> np.ndarray:
    """Average consecutive steps, the last of them dropped if they do not fill a block.

    Parameters
    ----------
    values : ndarray, shape (n,)
        A number a step.
    block : int
        Steps on the same prompts, so that the saw-tooth within a block does not hide the trend.

    Returns
    -------
    ndarray, shape (n // block,)
        One mean a block.
    """
    return values[: len(values) // block * block].reshape(-1, block).mean(axis=1)


def main() -> None:
    """Draw the figure after checking what its caption claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("results/figures/value_error.csv"))
    options = parser.parse_args()
    frame = pl.read_csv(options.data)
    block = json.loads(options.data.with_suffix(".json").read_text())["block_reuse"]
    columns = {name: frame[name].to_numpy().astype(float) for name in frame.columns}
    step, reward = columns.pop("step"), columns.pop("reward")

    # The caption: on this run kernel beats the means of group and batch.
    means = {name: float(column.mean()) for name, column in columns.items()}
    if not means["kernel"] < min(means["group-mean"], means["batch-mean"]):
        raise SystemExit(f"the figure claims that kernel beats the means of group and batch, but this run says {means}")

    curves = {name: block_means(column, block) for name, column in columns.items()}
    figure = plotting.value_error_picture(block_means(step, block), curves, block_means(reward, block))
    print(f"Figure: {plotting.save(figure, options.data.with_suffix('.png'))}")


if __name__ == "__main__":
    main()

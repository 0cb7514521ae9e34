"""Value error over training, the data: every baseline replayed over one recorded run with exact true values.

One row a step: mean reward, and for each baseline the mean squared error of its values. The run itself is real
training of a language model, so there is one run and no repetition; its uncertainty over prompts is in ``kvar audit``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

from kvar import baseline_names, make_baseline, read_trace
from kvar.files import whole_file
from kvar.replaying import replay_baseline


def value_errors(trace) -> pl.DataFrame:
    """Mean squared value error of every baseline at every step.

    Parameters
    ----------
    trace : kvar.Trace
        With the column ``true_value``.

    Returns
    -------
    polars.DataFrame
        Columns ``step``, ``reward`` and one a baseline that the trace serves, but for the oracle, whose error is 0.

    Raises
    ------
    ValueError
        If the trace does not hold the true values.
    """
    if "true_value" not in trace.extras:
        raise ValueError("value error needs a trace with the column true_value")
    scored = ~np.isnan(trace.reward)
    steps, code = np.unique(trace.step[scored], return_inverse=True)
    counts = np.bincount(code)

    def per_step(values):
        return np.bincount(code, weights=values[scored]) / counts

    columns = {"step": steps, "reward": per_step(trace.reward)}
    for baseline in map(make_baseline, baseline_names()):
        if baseline.name != "oracle" and not baseline.obstacle(trace.reward, trace.extras):
            values = replay_baseline(trace, baseline).values
            columns[baseline.name] = per_step((values - trace.extras["true_value"]) ** 2)
    return pl.DataFrame(columns)


def main() -> None:
    """Write the data of the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, default=Path("results/tiny/trace"))
    parser.add_argument("--config", type=Path, default=Path("results/tiny/config.json"), help="settings of the run")
    parser.add_argument("--out", type=Path, default=Path("results/figures/value_error.csv"))
    options = parser.parse_args()
    frame = value_errors(read_trace(options.trace))
    with whole_file(options.out) as temporary:
        frame.write_csv(temporary)
    training = json.loads(options.config.read_text())["training"]
    kept = ("block_reuse", "num_generations", "per_device_train_batch_size", "max_steps", "learning_rate", "seed")
    with whole_file(options.out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({name: training[name] for name in kept}, indent=2) + "\n")
    print(f"Data of the figure: {options.out}")


if __name__ == "__main__":
    main()

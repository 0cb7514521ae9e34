"""Value error over training, the data: every baseline replayed over one recorded run with exact values.

A row for each step: mean reward, and for each baseline the mean squared error of its values. This is one training run
of a language model, without repetitions; ``kvar audit`` gives its uncertainty over prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from kvar import make_baseline, read_trace
from kvar.replaying import replay_baseline
from kvar.utils.atomic_files import atomic_write
from paper_figures.sources import own_baselines
from simulations.harness.keyed_results import digest, write_key

# The run of `make reproduce`.
TRAINED = Path("results/tiny/trace")
OUT = Path("results/figures/value_error.csv")
_LONGEST_BLOCK = 200


def value_errors(trace) -> pl.DataFrame:
    """Mean squared value error of every baseline at every step, in a column for each baseline."""
    if "true_value" not in trace.extras:
        raise ValueError("the trace has no column true_value, which value errors need")
    scored = ~np.isnan(trace.reward)
    steps, code = np.unique(trace.step[scored], return_inverse=True)
    counts = np.bincount(code)

    def per_step(values):
        return np.bincount(code, weights=values[scored]) / counts

    columns = {"step": steps, "reward": per_step(trace.reward)}
    for baseline in map(make_baseline, own_baselines()):
        if baseline.name != "oracle" and not baseline.reason_not_applicable(trace.reward, trace.extras):
            values = replay_baseline(trace, baseline).values
            columns[baseline.name] = per_step((values - trace.extras["true_value"]) ** 2)
    return pl.DataFrame(columns)


def block_length(trace) -> int:
    """Number of steps that the first mini-batch is kept for."""
    prompts = [set(trace.prompt_id[trace.step == step]) for step in np.unique(trace.step)[:_LONGEST_BLOCK]]
    return next((k for k, these in enumerate(prompts) if these != prompts[0]), len(prompts))


def parameters(trace: Path) -> dict:
    """What the data depend on."""
    return {"trace": digest(trace), "baselines": own_baselines()}


def write(trace: Path, out: Path) -> None:
    """Replay the run, and write the data of the figure with their key."""
    read = read_trace(trace)
    frame = value_errors(read).with_columns(block=pl.lit(block_length(read)))
    with atomic_write(out) as temporary:
        frame.write_csv(temporary)
    write_key(out.with_suffix(".json"), parameters(trace), [out])


def main() -> None:
    """Write the data of the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, default=TRAINED)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    write(options.trace, options.out)
    print(f"Data of the figure: {options.out}")


if __name__ == "__main__":
    main()

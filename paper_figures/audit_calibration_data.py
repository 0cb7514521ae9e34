"""Checks the estimates of the audit where exact values are known: value MSE, and the advice on group sizes.

The audit is given the recorded runs without their exact values. One table has a row for each run and baseline: the
estimated value MSE with its 95 % interval, and the true one. The other has a row for each run: the advised group size,
the value MSE estimated there, and the true one on groups cut to that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from kvar import Trace, audit, make_baseline, read_trace
from kvar.auditing.group_size_study import GroupSizeReplay
from kvar.intervals import LONGEST_PERIOD
from kvar.replaying import replay_baseline
from kvar.rollouts.step_chunks import SortedTrace
from kvar.utils.atomic_files import atomic_write
from kvar.utils.progress import tracked
from paper_figures.sources import runs_and_output
from simulations.harness.keyed_results import digest, write_key

OUT = Path("docs/audit_calibration.csv")


def parameters(paths: Sequence[Path]) -> dict:
    """What the tables depend on: digests of the runs."""
    return {"runs": {path.stem: digest(path) for path in sorted(paths)}}


def calibrate(path: Path) -> tuple[list[dict], dict]:
    """Audit one run without its exact values, and compare the estimates with the truth."""
    trace = read_trace(path)
    extras = {name: column for name, column in trace.extras.items() if name != "true_value"}
    report = audit(Trace(trace.step, trace.prompt_id, trace.rollout, trace.reward, extras))
    scored = ~np.isnan(trace.reward)
    rows = []
    for row in report.rows:
        values = replay_baseline(trace, make_baseline(row.baseline, **row.parameters)).values
        truth = float(np.nanmean(((values - trace.extras["true_value"]) ** 2)[scored]))
        estimate = row.estimated_value_mse
        if not np.isnan(estimate.low):
            inside = estimate.low <= truth <= estimate.high
            limits = {"estimate": estimate.mean, "low": estimate.low, "high": estimate.high}
            rows.append({"run": path.stem, "baseline": row.label, "truth": truth, **limits, "inside": inside})
    best = report.chosen
    advice = {"run": path.stem, "baseline": best.label, "full": report.facts.group_size, "advised": None}
    sizes = report.group_sizes
    if sizes is not None and sizes.advised is not None:
        # The same study again, this time with the exact values.
        again = GroupSizeReplay(make_baseline(best.baseline, **best.parameters), sizes.full)
        again.add(SortedTrace.of(trace).chunks(sorted(trace.extras), LONGEST_PERIOD))
        true = next(row for row in again.study().rows if row.size == sizes.advised.size).true_value_mse
        now = next(row["truth"] for row in rows if row["baseline"] == "group-mean")
        advice |= {
            "advised": sizes.advised.size,
            "promised": sizes.advised.value_mse.mean,
            "standard_error": sizes.advised.value_mse.standard_error,
            "true": true,
            "reference": sizes.reference.mean,
            "true_reference": now,
        }
    return rows, advice


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both tables and print a summary."""
    paths, out = runs_and_output(__doc__, OUT, arguments)
    found = [calibrate(path) for path in tracked(paths, "auditing runs")]
    frame = pl.DataFrame([row for rows, _ in found for row in rows], infer_schema_length=None)
    advice = pl.DataFrame([advice for _, advice in found], infer_schema_length=None)
    written = {out: frame, out.with_stem(out.stem + "_groups"): advice}
    for path, table in written.items():
        with atomic_write(path) as temporary:
            table.write_csv(temporary)
    write_key(out.with_suffix(".json"), parameters(paths), list(written))
    print(
        f"true value MSE inside the 95 % interval: {frame['inside'].sum()} of {len(frame)} pairs of run and baseline, "
        f"{100 * frame['inside'].mean():.1f} %"
    )
    width = ((frame["high"] - frame["low"]) / 2 / frame["truth"]).median()
    print(f"half width of the interval as a fraction of the true value MSE, median: {width:.2f}")
    print(frame.filter(~pl.col("inside")))
    advised = advice.drop_nulls("advised").with_columns(
        off=pl.col("true") / pl.col("promised") - 1, against_now=pl.col("true") / pl.col("true_reference")
    )
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=160):
        print(advised)
    near = (advised["off"].abs() <= 0.1).sum()
    kept = (advised["against_now"] <= 1.1).sum()
    print(f"true value MSE at the advised size within 10 % of its estimate: {near} of {len(advised)} runs")
    print(f"true value MSE at the advised size at most 1.1 of group-mean with whole groups: {kept} of {len(advised)}")


if __name__ == "__main__":
    main()

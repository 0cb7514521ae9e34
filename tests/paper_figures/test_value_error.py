"""The data of the figure are those of the audit, other runs are refused, a false claim is not drawn."""

import numpy as np
import polars as pl
import pytest

import kvar
from paper_figures import value_error_data
from paper_figures.exhibit import FalseClaimError, make
from paper_figures.value_error_data import block_length, value_errors
from paper_figures.value_error_fig import ValueErrors, block_means
from simulations.harness.keyed_results import StaleResultError
from tests.kvar.test_audit import simulated


def test_curves_average_to_the_audit(rng):
    trace = simulated(rng, missing=0.1)
    frame = value_errors(trace)
    weights = np.bincount(trace.step[~np.isnan(trace.reward)])
    for row in kvar.audit(trace, [n for n in frame.columns if n not in ("step", "reward", "group-mean")]).rows:
        assert np.average(frame[row.baseline], weights=weights) == pytest.approx(row.value_mse.mean)


def test_no_truth_no_curve(rng):
    with pytest.raises(ValueError, match="true_value"):
        value_errors(simulated(rng, truth=False))


def test_another_run_is_refused(rng, tmp_path, monkeypatch):
    run = tmp_path / "run.parquet"
    monkeypatch.setattr(value_error_data, "TRAINED", run)
    monkeypatch.setattr(value_error_data, "OUT", tmp_path / "value_error.csv")
    kvar.write_trace(simulated(rng), run)
    with pytest.raises(StaleResultError):
        ValueErrors().tables()
    ValueErrors().compute()
    assert "adaptive" in ValueErrors().tables()["value_error"].columns
    kvar.write_trace(simulated(rng), run)
    with pytest.raises(StaleResultError, match="is of parameters"):
        ValueErrors().tables()


def test_a_false_claim_is_not_drawn(tmp_path, monkeypatch):
    frame = pl.DataFrame(
        {"step": [1, 2], "reward": [0.5, 0.5], "kernel": [0.2, 0.2], "group-mean": [0.1, 0.1], "batch-mean": [0.3, 0.3]}
        | {"adaptive": [0.1, 0.1], "block": [1, 1]}
    )
    right = frame.with_columns(kernel=0.09, adaptive=0.08)
    monkeypatch.setattr(ValueErrors, "tables", lambda self: {"value_error": right})
    assert len(make(ValueErrors(), tmp_path)[1]) == 3
    # The figure of the earlier data goes too.
    monkeypatch.setattr(ValueErrors, "tables", lambda self: {"value_error": frame})
    with pytest.raises(FalseClaimError, match="claims that kernel beats both means"):
        make(ValueErrors(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_block_means():
    assert block_means(np.arange(7.0), 3).tolist() == [1.0, 4.0]


def test_the_length_of_a_block_is_read_off_the_prompts():
    trace = kvar.read_trace("recorded_runs/block-g4.parquet")
    assert block_length(trace) == 10

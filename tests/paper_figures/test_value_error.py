"""The figure's data are those of the audit, and its claim is checked before it is drawn."""

import json
import sys

import numpy as np
import polars as pl
import pytest

import kvar
from paper_figures import value_error_fig
from paper_figures.value_error_data import value_errors
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


def test_a_false_claim_is_not_drawn(tmp_path, monkeypatch):
    pl.DataFrame(
        {"step": [1, 2], "reward": [0.5, 0.5], "kernel": [0.2, 0.2], "group-mean": [0.1, 0.1], "batch-mean": [0.3, 0.3]}
    ).write_csv(tmp_path / "x.csv")
    (tmp_path / "x.json").write_text(json.dumps({"block_reuse": 1}))
    monkeypatch.setattr(sys, "argv", ["value_error_fig", "--data", str(tmp_path / "x.csv")])
    with pytest.raises(SystemExit, match="claims that kernel beats"):
        value_error_fig.main()
    assert not (tmp_path / "x.png").exists()


def test_block_means():
    assert value_error_fig.block_means(np.arange(7.0), 3).tolist() == [1.0, 4.0]

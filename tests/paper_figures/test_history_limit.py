"""The filter is Bayes's rule, and it is told the right things."""

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

import kvar
from kvar.replaying import batches
from kvar.rollouts.batch import Batch
from paper_figures.history_limit import _LOGITS, Filter, Told, limit, main, table, value_mse


def test_without_movement_it_is_the_posterior_of_all_other_rewards(rng):
    priors = {
        prompt: weights / weights.sum() for prompt, weights in zip("ab", rng.random((2, len(_LOGITS))), strict=True)
    }
    estimator = Filter(Told(priors, np.array([0.0]), np.array([0.0]), variance=1e-12))
    rates, seen = expit(_LOGITS), {"a": [], "b": []}
    for step in range(3):
        rewards = rng.integers(2, size=(2, 3)).astype(float)
        rewards[0, step] = np.nan
        found = estimator.values(Batch.from_rows(["a", "b"], rewards, step))
        for row, prompt in enumerate("ab"):
            for own in range(3):
                others = [r for k, r in enumerate(rewards[row]) if k != own and not np.isnan(r)]
                weights = priors[prompt].copy()
                for reward in seen[prompt] + others:
                    weights *= rates if reward else 1 - rates
                assert found[row, own] == pytest.approx(weights @ rates / weights.sum(), rel=1e-6)
            seen[prompt] += [r for r in rewards[row] if not np.isnan(r)]


def moving(rng, n_prompts=60, n_steps=60, drift=0.03, deviation=0.1):
    """A run whose log-odds drift and wander, each prompt with one feature that says where it began."""
    start = rng.normal(-1, 1, n_prompts)
    paths = start + np.cumsum(drift + deviation * rng.normal(size=(n_steps, n_prompts)), axis=0)
    values = expit(paths)
    step = np.repeat(np.arange(n_steps), n_prompts)
    return kvar.Trace.from_columns(
        {
            "step": step,
            "prompt_id": np.tile(np.arange(n_prompts), n_steps),
            "reward": (rng.random(values.shape) < values).astype(float).ravel(),
            "true_value": values.ravel(),
            "feature_0": np.tile(start + 0.1 * rng.normal(size=n_prompts), n_steps),
        }
    )


def test_it_is_told_drift_variance_and_where_prompts_begin(rng):
    trace = moving(rng)
    told = Told.by(trace, ["feature_0"])
    error = 0.1 / np.sqrt(60 * 60)  # of the mean of all changes
    assert told.drift.mean() == pytest.approx(0.03, abs=4 * error)
    assert told.variance == pytest.approx(0.01, rel=0.1)
    first = next(batches(trace, ["true_value"]))[1].columns["true_value"][:, 0]
    begun = np.array([weights @ expit(_LOGITS) for weights in told.priors.values()])
    assert np.corrcoef(begun, first)[0, 1] > 0.98


def test_what_it_is_told_helps(rng, tmp_path):
    trace = moving(rng)
    kvar.write_trace(trace, tmp_path / "run.parquet")
    found = limit(tmp_path / "run.parquet")
    assert found["told, features"] < found["told"]
    adaptive = np.mean((kvar.replay(trace, "adaptive", features=False) - trace.extras["true_value"]) ** 2)
    assert found["told"] < adaptive
    blind = Filter(Told(Told.by(trace).priors, np.array([0.0]), np.array([0.0]), variance=1e-6))
    assert found["told"] < value_mse(trace, blind)
    compared = pl.DataFrame(
        [
            {"run": "run", "baseline": name, "role": role, "own_reward": False, "value_mse": mse, "one_step_error": mse}
            | {"coverage": 0.95}
            for name, role, mse in (
                ("adaptive", "ours", adaptive), ("adaptive (features=False)", "ablation", adaptive),
                ("kernel", "published", 2 * adaptive), ("group-mean", "published", 3 * adaptive),
            )
        ]
    )  # fmt: skip
    written = table(pl.DataFrame([found]), compared)
    assert "| geometric mean of the ratio to kernel |" in written
    assert "| 0.500 | 1.000 |" in written


def test_one_prompt_has_no_limit(rng, tmp_path):
    kvar.write_trace(moving(rng, n_prompts=1), tmp_path / "run.parquet")
    assert limit(tmp_path / "run.parquet") is None


def test_runs_of_the_same_name_are_not_taken_for_those_of_the_table(rng, tmp_path):
    kvar.write_trace(moving(rng), tmp_path / "epoch-g1.parquet")
    with pytest.raises(SystemExit, match="is none of the runs of"):
        main(["--runs", str(tmp_path), "--out", str(tmp_path / "limit.md")])

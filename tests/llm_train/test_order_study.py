"""Errors of weighted batches against a loop over vectors, and the kept table."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from kvar.prompt_draws import Drawn
from llm_train.studies.prompt_orders import BatchErrors, squared_bias, table


def test_errors_of_batches_are_those_of_vectors(rng):
    gradients = rng.normal(size=(5, 3))
    noise = rng.random(5)
    products = gradients @ gradients.T
    errors = BatchErrors(products, np.diag(products) + noise)
    drawn = [Drawn((0, 3), (0.7, 1.4)), Drawn((1, 2), (1.0, 2.0)), Drawn((4, 1), (0.5, 0.6))]
    found, pairs = errors.of(drawn)
    off = []
    for batch, mse in zip(drawn, found, strict=True):
        mean, rest = -gradients.mean(axis=0), 0.0
        for prompt, weight in zip(batch.prompts, batch.weights, strict=True):
            mean = mean + weight / 2 * gradients[prompt]
            rest += (weight / 2) ** 2 * noise[prompt]
        assert mse == pytest.approx(mean @ mean + rest)
        off.append(mean)
    np.testing.assert_allclose(pairs, np.array(off) @ np.array(off).T)
    assert errors.exact_square == pytest.approx(gradients.mean(axis=0) @ gradients.mean(axis=0))


def test_the_squared_bias_is_estimated_without_bias(rng):
    bias = np.array([0.3, 0.0, -0.1])
    found = {}
    for centre in (np.zeros(3), bias):
        samples = [squared_bias(off @ off.T) for off in centre + rng.normal(size=(2000, 20, 3))]
        values, errors = np.array(samples).T
        mean = values.mean()
        assert abs(mean - centre @ centre) < 4 * values.std() / np.sqrt(2000)
        found[centre.any()] = values.std(), np.sqrt((errors**2).mean())
    assert found[False][1] == pytest.approx(found[False][0], rel=0.1)


def test_the_kept_table_is_that_of_the_kept_rows():
    kept = Path("docs/prompt_orders")
    assert table(pl.read_csv(kept / "rows.csv")) == (kept / "table.md").read_text()

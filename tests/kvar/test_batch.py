"""Rows laid out by prompt and back, and sums without the entry itself."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvar.rollouts.batch import Batch, occurrence, sums_of_others


@given(ids=st.lists(st.integers(0, 5), min_size=1, max_size=20), group=st.integers(0, 3), data=st.data())
def test_there_and_back(ids, group, data):
    shape = (len(ids), group) if group else (len(ids),)
    n = math.prod(shape)
    rewards = np.array(data.draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))).reshape(shape)
    batch = Batch.from_rows(ids, rewards, 0, {"column": rewards + 1})
    np.testing.assert_array_equal(batch.to_rows(batch.rewards), rewards)
    np.testing.assert_array_equal(batch.to_rows(batch.columns["column"]), rewards + 1)
    assert batch.prompt_ids == list(dict.fromkeys(ids))
    for prompt, row in zip(batch.prompt_ids, batch.rewards, strict=True):
        expected = rewards[np.array(ids) == prompt].ravel()
        np.testing.assert_array_equal(row[~np.isnan(row)], expected)


def test_a_column_may_hold_one_number_a_row():
    batch = Batch.from_rows(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], 0, {"column": [5.0, 6.0]})
    np.testing.assert_array_equal(batch.columns["column"], [[5.0, 5.0], [6.0, 6.0]])


@given(codes=st.lists(st.integers(0, 4)))
def test_occurrence_counts_the_earlier_ones(codes):
    expected = [codes[:k].count(code) for k, code in enumerate(codes)]
    assert occurrence(np.array(codes, dtype=int)).tolist() == expected


def test_sums_of_others_keep_the_digits_of_small_numbers():
    values = np.array([1e-6, 1e12, 2e-6, 3e-6])
    expected = [1e12 + 5e-6, 6e-6, 1e12 + 4e-6, 1e12 + 3e-6]
    np.testing.assert_allclose(sums_of_others(values), expected, rtol=1e-15)
    assert sums_of_others(np.array([[1.0]])).tolist() == [[0.0]]

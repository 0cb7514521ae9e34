"""Rows ordered by prompt and back, and sums without the entry itself."""

import math
import tracemalloc
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvar
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
    groups = np.split(batch.rewards, np.cumsum(batch.sizes)[:-1])
    for prompt, group_rewards in zip(batch.prompt_ids, groups, strict=True):
        np.testing.assert_array_equal(group_rewards, rewards[np.array(ids) == prompt].ravel())


@given(ids=st.lists(st.integers(0, 5), max_size=20), data=st.data())
def test_work_by_group_against_a_loop(ids, data):
    rewards = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0, np.nan]), min_size=len(ids), max_size=len(ids)))
    )
    batch = Batch.from_rows(ids, rewards, 0)
    distinct = list(dict.fromkeys(ids))
    groups = [[r for i, r in zip(ids, rewards, strict=True) if i == prompt] for prompt in distinct]
    assert batch.sizes.tolist() == [len(group) for group in groups]
    assert batch.counts.tolist() == [sum(not np.isnan(r) for r in group) for group in groups]
    assert batch.sums(batch.filled).tolist() == [np.nansum(group) for group in groups]
    largest = batch.by_group(lambda filled: filled.max(axis=1), batch.filled)
    assert largest.tolist() == [np.nan_to_num(group).max() for group in groups]
    filled = np.nan_to_num(rewards)
    others = [sum(filled[j] for j, i in enumerate(ids) if i == prompt and j != k) for k, prompt in enumerate(ids)]
    assert batch.to_rows(batch.sums_of_others(batch.filled)).tolist() == others
    scored = [
        sum(not np.isnan(rewards[j]) for j, i in enumerate(ids) if i == prompt and j != k)
        for k, prompt in enumerate(ids)
    ]
    assert batch.to_rows(batch.n_others).tolist() == scored
    assert batch.to_rows(batch.spread(np.array(distinct))).tolist() == ids


@given(steps=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), min_size=1, max_size=4), data=st.data())
def test_parts_are_batches_of_their_rows(steps, data):
    sizes = np.array([size for step in steps for size in step])
    n = int(sizes.sum())
    rewards = data.draw(st.lists(st.sampled_from([0.0, 0.25, 1.0, np.nan]), min_size=n, max_size=n))
    whole = Batch.of_groups(np.array(rewards), sizes, {"column": np.arange(n) / 2})
    cuts = [0, *np.cumsum([len(step) for step in steps]).tolist()]
    parts = whole.parts(cuts, np.arange(len(sizes)) % 5, [0.5 * k for k in range(len(steps))])
    names = [name for name, kind in vars(Batch).items() if isinstance(kind, cached_property)]
    for k, (place, part) in enumerate(parts):
        keys = np.repeat(np.arange(len(sizes)) % 5, sizes)[place]
        expected = Batch.from_rows(keys, whole.rewards[place], 0.5 * k, {"column": np.arange(n)[place] / 2})
        assert (part.step, part.prompt_ids) == (expected.step, expected.prompt_ids)
        np.testing.assert_array_equal(part.to_rows(part.columns["column"]), expected.columns["column"])
        np.testing.assert_array_equal(part.sums_of_others(part.filled), expected.totals_of_others)
        for name in ("rewards", "sizes", *set(names) - {"_equal_groups"}):
            np.testing.assert_array_equal(getattr(part, name), getattr(expected, name))


@pytest.mark.parametrize("name", kvar.baseline_names())
def test_one_large_group_among_many_small_ones_takes_the_memory_of_its_rollouts(name):
    ids = [-1] * 1000 + list(range(3000))
    rewards = np.zeros(len(ids))
    columns = dict.fromkeys(("true_value", "offline_value", "completion_length", "score_norm"), np.ones(len(ids)))
    baseline = kvar.make_baseline(name)
    used = {column: columns[column] for column in baseline.columns_used(columns)}
    tracemalloc.start()
    baseline.advantages(ids, rewards, 0, **used)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A block with a row a prompt would take 24 MB for the rewards alone.
    assert peak < 20e6


def test_a_column_may_hold_one_number_a_row():
    batch = Batch.from_rows(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], 0, {"column": [5.0, 6.0]})
    np.testing.assert_array_equal(batch.columns["column"], [5.0, 5.0, 6.0, 6.0])


@given(codes=st.lists(st.integers(0, 4)))
def test_occurrence_counts_the_earlier_ones(codes):
    expected = [codes[:k].count(code) for k, code in enumerate(codes)]
    assert occurrence(np.array(codes, dtype=int)).tolist() == expected


def test_sums_of_others_keep_the_digits_of_small_numbers():
    values = np.array([1e-6, 1e12, 2e-6, 3e-6])
    expected = [1e12 + 5e-6, 6e-6, 1e12 + 4e-6, 1e12 + 3e-6]
    np.testing.assert_allclose(sums_of_others(values), expected, rtol=1e-15)
    assert sums_of_others(np.array([[1.0]])).tolist() == [[0.0]]

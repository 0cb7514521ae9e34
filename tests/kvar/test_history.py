"""The table of visits against a dictionary of lists, and its memory."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvar
from kvar.history.visits import History

VISITS = st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 9), min_size=1, unique=True)), max_size=60)


def recorded(history, prompt):
    found = [visits for _, visits in history.visits([prompt], 100)]
    if not found:
        return []
    (visits,) = found
    kept = visits.counts[0] > 0
    return sorted(zip(visits.steps[0, kept], visits.totals[0, kept], visits.counts[0, kept], strict=True))


@given(run=VISITS, reach=st.sampled_from([0, 1, 5, np.inf]))
@settings(deadline=None)
def test_every_visit_within_reach_is_there(run, reach):
    history, visits_of, step = History(reach), {}, 0
    for jump, prompts in run:
        step += jump
        totals, counts = np.arange(len(prompts)) + step * 10.0, np.ones(len(prompts))
        history.add(prompts, totals, counts, step)
        for prompt, total in zip(prompts, totals, strict=True):
            visits_of.setdefault(prompt, []).append((step, total, 1.0))
    for prompt in range(10):
        actual = recorded(history, prompt)
        assert set(actual) <= set(visits_of.get(prompt, []))
        assert [v for v in actual if v[0] >= step - reach] == sorted(
            v for v in visits_of.get(prompt, []) if v[0] >= step - reach
        )


def test_memory_follows_the_prompts_in_use():
    history = History(reach=3)
    for step in range(200):
        prompts = list(range(step * 50, step * 50 + 50))
        history.add(prompts, np.ones(50), np.ones(50), step)
    # 200 prompts are within reach. The table may have a few times as many rows, but not the 10,000 ever seen.
    assert len(history._next) <= 1_000
    assert len(history._steps) <= 1_000


def test_rings_grow_only_as_far_as_the_window():
    history = History(reach=9)
    for step in range(1000):
        history.add(["a"], np.ones(1), np.ones(1), step)
    assert history._width[: len(history)].tolist() == [16]
    assert len(recorded(history, "a")) >= 10


def test_a_prompt_without_rewards_takes_no_place():
    history = History(reach=9)
    history.add(["a", "b"], np.array([0.0, 1.0]), np.array([0.0, 2.0]), 0)
    assert len(history) == 1
    assert recorded(history, "b") == [(0.0, 1.0, 2.0)]


def test_no_digit_is_lost_over_a_long_run(rng):
    history = History(reach=10)
    rewards = rng.normal(size=5_000) * 10.0 ** rng.integers(-6, 6, size=5_000)
    for step, reward in enumerate(rewards):
        history.add([7], np.array([reward]), np.ones(1), step)
    visits = recorded(history, 7)
    assert [v[1] for v in visits if v[0] >= 4_989] == rewards[4_989:].tolist()


def test_the_state_is_a_copy():
    history = History(reach=9)
    history.add(["a"], np.ones(1), np.ones(1), 0)
    state = history.state_dict()
    history.add(["a"], np.full(1, 5.0), np.ones(1), 1)
    other = History(reach=9)
    other.load_state_dict(state)
    other.add(["a"], np.full(1, 7.0), np.ones(1), 1)
    assert recorded(history, "a")[1][1] == 5.0
    assert state["totals"].tolist() == [[1.0]]


def test_a_place_that_was_given_up_is_empty_for_the_next():
    history = History(1)
    for step in (0, 1):
        history.add(["a"], np.array([3.0]), np.array([4.0]), step)
    history.add(["b"], np.array([2.0]), np.array([2.0]), 10)
    assert len(history) == 1
    ((_, left),) = history.visits(["b"], 100)
    assert (left.steps.tolist(), left.totals.tolist(), left.counts.tolist()) == ([[10.0]], [[2.0]], [[2.0]])


def hot_and_cold(n_steps, n_new, reach=np.inf, **more):
    """One prompt in every step, among others that come once."""
    history = History(reach, **more)
    for step in range(n_steps):
        ids = [-1, *range(step * n_new, (step + 1) * n_new)]
        history.add(ids, np.full(len(ids), step / 8), np.ones(len(ids)), step)
    return history


def test_a_prompt_in_every_step_costs_the_others_nothing():
    history = hot_and_cold(n_steps=300, n_new=100)
    assert history._width.max() == 512
    # Two cells for each visit, and the reserve.
    assert len(history._steps) <= 1.5 * 2 * (300 * 100 + 300)
    assert [visit[0] for visit in recorded(history, -1)] == list(range(300))
    assert recorded(history, 12_345) == [(123.0, 123 / 8, 1.0)]


@pytest.mark.parametrize(("n_new", "flat"), [(0, False), (2, False), (1000, True)])
def test_rings_of_all_widths_come_back_to_the_last_bit(n_new, flat):
    history = hot_and_cold(n_steps=100, n_new=n_new)
    state = history.state_dict()
    assert ("widths" in state, state["steps"].ndim == 1) == (n_new > 0, flat)
    assert state["steps"].size <= max(2**16, 4 * (100 * n_new + 128))
    for loaded in (state, json.loads(json.dumps(state, default=np.ndarray.tolist))):
        other = History(np.inf)
        other.load_state_dict(loaded)
        np.testing.assert_equal(other.state_dict(), state)
        for both in (other, History(np.inf)):
            both.load_state_dict(loaded)
            both.add([-1, 5], np.ones(2), np.ones(2), 200)
            assert recorded(both, -1) == [*recorded(history, -1), (200.0, 1.0, 1.0)]


def test_rings_of_earlier_versions_had_one_width():
    state = {"prompt_ids": ["a", "b"], "next": [3, 1], "last_step": 9.0}
    state["steps"] = [[-np.inf, 4.0, 5.0, -np.inf], [9.0, 6.0, 7.0, 8.0]]
    state["totals"] = [[0.0, 0.5, 1.0, 0.0], [4.0, 1.0, 2.0, 3.0]]
    state["counts"] = [[0.0, 1.0, 1.0, 0.0], [4.0, 4.0, 4.0, 4.0]]
    history = History(20)
    history.load_state_dict(state)
    assert recorded(history, "a") == [(4.0, 0.5, 1.0), (5.0, 1.0, 1.0)]
    for step in (10, 11, 12):
        history.add(["a", "b"], np.array([step, step]), np.ones(2), step)
    assert [visit[0] for visit in recorded(history, "a")] == [4, 5, 10, 11, 12]
    assert [visit[0] for visit in recorded(history, "b")] == [6, 7, 8, 9, 10, 11, 12]


@given(run=VISITS, most=st.integers(1, 5))
@settings(deadline=None)
def test_the_newest_visits_are_kept_and_numbered(run, most):
    history, visits_of = History(np.inf, max_visits=most), {}
    for step, (_, prompts) in enumerate(run):
        history.add(prompts, np.full(len(prompts), step), np.ones(len(prompts)), step)
        for prompt in prompts:
            visits_of.setdefault(prompt, []).append(step)
    ids = list(range(11))
    for members, visits in history.visits(ids, 8):
        for prompt, steps, counts, ages in zip(members, visits.steps, visits.counts, visits.ages, strict=True):
            found = {age: step for age, step, count in zip(ages, steps, counts, strict=True) if count}
            wanted = visits_of[prompt][::-1][:most]
            assert found == {k + 1.0: step for k, step in enumerate(wanted)}
    assert {k for members, _ in history.visits(ids, 8) for k in members} == visits_of.keys()


@pytest.mark.parametrize("count", [2.0**54, 1e308, -1.0, np.nan, np.inf])
def test_a_count_that_no_visit_has_is_refused(count):
    baseline = kvar.make_baseline("adaptive")
    for step in range(25):
        baseline.update(range(5), np.ones((5, 3)), step)
    state = baseline.state_dict()
    state["state"]["history"]["counts"][0, 0] = count
    with pytest.raises(ValueError, match="counts of a history must be"):
        kvar.make_baseline("adaptive").load_state_dict(state)

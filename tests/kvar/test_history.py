"""The table of visits against a dictionary of lists, and its memory."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kvar.history.visits import History

VISITS = st.lists(st.tuples(st.integers(0, 4), st.lists(st.integers(0, 9), min_size=1, unique=True)), max_size=60)


def recorded(history, prompt):
    visits = history.visits([prompt])
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
    assert history._steps.shape[1] == 1


def test_rings_grow_only_as_far_as_the_window():
    history = History(reach=9)
    for step in range(1000):
        history.add(["a"], np.ones(1), np.ones(1), step)
    assert history._steps.shape[1] == 16
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
    left = history.visits(["b"])
    assert len(history) == 1
    assert sorted(left.totals[0]) == [0.0, 2.0]
    assert sorted(left.counts[0]) == [0.0, 2.0]
    assert sorted(left.steps[0]) == [-np.inf, 10.0]

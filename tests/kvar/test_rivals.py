"""Published baselines against plain loops over their formulas, cases computed by hand, and their edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvar
from kvar.baselines.kalman import KalmanBaseline
from kvar.history.prompt_table import PromptTable
from kvar.online.running_moments import RunningMoments
from tests.kvar import reference

NAN = math.nan
SPO = {"forgetting": "drift", "include_own": False, "prior": 0.5}
CASES = [
    *[("kernel", {"kernel": kernel, "bandwidth": 3.7}) for kernel in kvar.kernel_names()],
    ("kernel", {}),
    ("kernel", {"bandwidth": 0.5}),
    ("james-stein", {}),
    ("empirical-bayes", {}),
    ("discounted-beta", {}),
    ("discounted-beta", {"discount": 0.75, "include_own": False}),
    ("discounted-beta", {"forgetting": "step", "discount": 0.9, "prior": 2.0}),
    ("discounted-beta", SPO),
    ("kalman", {}),
    ("kalman", {"drift_rate": 0.0}),
    ("buffer", {}),
    ("buffer", {"size": 3, "min_count": 2}),
    ("krpo", {}),
    ("krpo", {"process_noise": 0.1, "measurement_noise": 0.3}),
    ("opo", {}),
    ("basis", {}),
]


def compare(name, parameters, run):
    """Replay a run, with uneven groups padded by NaN, and compare the values of scored rollouts."""
    expected = getattr(reference, name.replace("-", "_"))(run, **parameters)
    baseline = kvar.make_baseline(name, **parameters)
    for (step, groups), wanted in zip(run, expected, strict=True):
        width = max(len(rewards) for _, rewards, _ in groups)

        def padded(rows, width=width):
            return np.array([[*row, *[NAN] * (width - len(row))] for row in rows])

        rewards = padded([rewards for _, rewards, _ in groups])
        columns = {key: [c[key] for _, _, c in groups] for key in baseline.needs}
        if name == "opo":
            columns = {key: padded(column) for key, column in columns.items()}
        values = baseline.estimate([p for p, _, _ in groups], rewards, step, **columns)
        seen = ~np.isnan(rewards)
        np.testing.assert_allclose(values[seen], padded(wanted)[seen], rtol=0, atol=1e-12)
        baseline.update([p for p, _, _ in groups], rewards, step, **columns)


@st.composite
def irregular_runs(draw, reward):
    """Runs with gaps between steps, changing prompts, uneven groups and missing rewards."""
    step, run = 0, []
    for _ in range(draw(st.integers(1, 10))):
        step += draw(st.integers(0, 6))
        groups = []
        for prompt in draw(st.lists(st.integers(0, 5), min_size=1, unique=True)):
            size = draw(st.integers(1, 5))
            rewards = draw(st.lists(st.one_of(reward, st.just(NAN)), min_size=size, max_size=size))
            columns = {
                "drift": draw(st.sampled_from([0.0, 0.004, 0.01, 3.0])),
                "offline_value": draw(st.sampled_from([0.0, 0.2, 0.7, 1.0])),
                "completion_length": draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)),
            }
            groups.append((prompt, rewards, columns))
        run.append((step, groups))
    return run


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_agrees_with_the_loop(name, parameters):
    binary = st.sampled_from([0.0, 1.0])
    reward = binary if name == "kalman" else st.one_of(binary, st.sampled_from([-2.5, 0.1, 0.3, 7.0]))

    @given(run=irregular_runs(reward))
    @settings(max_examples=60, deadline=None)
    def check(run):
        compare(name, parameters, run)

    check()


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_agrees_with_the_loop_on_a_long_run(name, parameters, rng):
    # Enough prompts and drift for the Kalman filter to estimate both, and rewards between 0 and 1.
    level = rng.uniform(0.1, 0.8, size=150)
    run = []
    for step in range(0, 120, 2):
        groups = []
        for prompt in rng.permutation(150)[:12].tolist():
            size = int(rng.integers(1, 5))
            rewards = (rng.random(size) < level[prompt] + 0.001 * step).astype(float)
            rewards[rng.random(size) < 0.2] *= 0.5
            columns = {"drift": rng.uniform(0, 0.01), "offline_value": level[prompt]}
            columns["completion_length"] = rng.integers(1, 50, size=size).tolist()
            groups.append((prompt, rewards.tolist(), columns))
        run.append((step, groups))
    compare(name, parameters, run)


# --- hand-computed cases ------------------------------------------------------------------------------------------


def test_james_stein_by_hand():
    # Others of "a": means 0.5 and 1, v = (0.5 / 2 + 0) / 2 = 1/8, s = 1/16, lambda = 2/3 * 2/3 = 4/9, mubar = 3/4.
    rewards = [[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]
    values = kvar.make_baseline("james-stein").estimate(["a", "b", "c"], rewards, 0)
    np.testing.assert_allclose(values[0], [5 / 9 * 1 + 4 / 9 * 3 / 4, 5 / 9 * 0 + 4 / 9 * 3 / 4], rtol=1e-15)


def test_james_stein_at_its_edges():
    baseline = kvar.make_baseline("james-stein")
    np.testing.assert_allclose(baseline.estimate(["a", "b", "c"], [1.0, 0.0, 0.5], 0), [0.25, 0.75, 0.5])
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0, 0.0, 0.5]], 0), [[0.25, 0.75, 0.5]])
    np.testing.assert_array_equal(baseline.estimate(["a"], [1.0], 0), [0.0])
    # Equal rewards have neither noise nor deviation, even if binary fractions cannot represent them.
    actual = baseline.estimate(["a", "b", "c"], [[0.0, 1.0, 1.0], [0.1, 0.1, 0.1], [0.1, 0.1, NAN]], 0)
    np.testing.assert_allclose(actual[0], [1.0, 0.5, 0.5])


def test_empirical_bayes_by_hand():
    # Rewards 0 1 1 1: variance 3/16; means 1/2 and 1: variance 1/16; S = (3/32) / (3/32 + 2/32) = 3/5; mu_glob = 3/4.
    baseline = kvar.make_baseline("empirical-bayes")
    values = baseline.estimate(["a", "b"], [[0.0, 1.0], [1.0, 1.0]], 0)
    np.testing.assert_allclose(values, [[0.65, 0.65], [0.85, 0.85]], rtol=1e-14)
    # One reward a prompt: half its own, half the mean of everything.
    single = kvar.make_baseline("empirical-bayes").estimate(["a", "b"], [1.0, 0.0], 0)
    np.testing.assert_allclose(single, [0.75, 0.25])


def test_discounted_beta_by_hand():
    baseline = kvar.make_baseline("discounted-beta")  # alpha = 0.5 + 1, beta = 0.5 + 2, then 0.75 + 1 and 1.25 + 0
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0, 0.0, 0.0]], 0), [[1.5 / 4] * 3])
    baseline.update(["a"], [[1.0, 0.0, 0.0]], 0)
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0]], 40), [[1.75 / 3]])


def test_spo_is_the_value_before_the_update():
    baseline = kvar.make_baseline("discounted-beta", **SPO)
    for step, (reward, before) in enumerate([(1.0, 0.5), (0.0, 1.48 / 1.96)]):
        np.testing.assert_allclose(baseline.estimate(["a"], [reward], step, drift=[0.0]), [before])
        baseline.update(["a"], [reward], step, drift=[0.0])
    # A large drift retains 0.875: alpha = 0.96 * 1.48, mass = 0.96 * 1.96 + 1 before; the mean does not fade.
    baseline.update(["a"], [1.0], 2, drift=[9.0])
    expected = (0.875 * 0.96 * 1.48 + 1) / (0.875 * (0.96 * 1.96 + 1) + 1)
    np.testing.assert_allclose(baseline.estimate(["a"], [0.0], 3, drift=[1.0]), [expected])
    assert baseline.own_weight(kvar.Batch.from_rows(["a"], [0.0], 3, {"drift": [1.0]})) == [0.0]


def test_a_faded_mass_leaves_the_last_mean():
    baseline = kvar.make_baseline("discounted-beta", forgetting="step", include_own=False)
    baseline.update(["a"], [[1.0, 0.0]], 0)
    baseline.update(["a"], [[1.0, 1.0]], 1)
    np.testing.assert_allclose(
        baseline.estimate(["a"], [0.0], 100_000), [3 / 4]
    )  # counts (1 + 1, 1 + 1), halved, and two more


def test_kalman_by_hand():
    baseline = kvar.make_baseline("kalman")
    np.testing.assert_allclose(baseline.estimate(["a"], [1.0], 0), [0.5])  # alone and without history: sin^2 of pi / 4
    # The other reward of a pair is an observation z = pi / 2 or 0 with noise 1 / 2.
    gain = math.pi**2 / 48 / (math.pi**2 / 48 + 0.5)
    expected = [math.sin(math.pi / 4 * (1 - gain)) ** 2, math.sin(math.pi / 4 * (1 + gain)) ** 2]
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0, 0.0]], 0), [expected])


def test_the_flow_of_the_filter_is_many_small_published_steps():
    baseline = KalmanBaseline()
    baseline.update(["a"], [[1.0, 0.0, 0.0, 0.0]], 0)
    baseline._drift = 0.03
    mean = float(baseline._table.read(["a"])["mean"][0])
    for _ in range(100_000):
        mean += 0.03 * 20 / 100_000 * math.sin(2 * mean)
    assert baseline.estimate(["a"], [1.0], 20)[0] == pytest.approx(math.sin(mean) ** 2, abs=1e-5)


def test_kalman_takes_either_end_of_its_drift_rate():
    for rate in (0, 1):
        assert kvar.make_baseline("kalman", drift_rate=rate).drift_rate == rate


def test_kalman_estimates_a_shared_drift(rng):
    baseline, drifts = KalmanBaseline(), []
    start = rng.uniform(-1.5, -0.5, size=1000)
    for step in range(100):
        true_values = 1 / (1 + np.exp(-(start + 0.02 * step)))
        baseline.update(range(1000), (rng.random((1000, 32)) < true_values[:, None]).astype(float), step)
        drifts.append(baseline._drift)
    # d psi / dt = v sin 2 psi is d logit(p) / dt = 4 v. Over five seeds the mean was 0.00498 with deviation 0.00003.
    assert np.mean(drifts[50:]) == pytest.approx(0.005, abs=0.0002)


def test_buffer_by_hand():
    baseline = kvar.make_baseline("buffer", size=3, min_count=3)
    np.testing.assert_allclose(baseline.estimate(["a", "b"], [[1.0, 0.0], [1.0, 1.0]], 0), [[0.75] * 2] * 2)
    baseline.update(["a", "b"], [[1.0, 0.0], [1.0, 1.0]], 0)
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0, NAN, 1.0]], 1), [[2 / 3] * 3])  # 0 1 1 is left
    batch = kvar.Batch.from_rows(["a"], [[1.0, 0.0, 0.0, 1.0]], 1)
    np.testing.assert_allclose(baseline.own_weight(batch), [0, 1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(baseline.values(batch), [1 / 3] * 4)
    alone = kvar.Batch.from_rows(["a"], [1.0], 0)
    np.testing.assert_array_equal(kvar.make_baseline("buffer", min_count=1).own_weight(alone), [1.0])


def test_krpo_by_hand():
    baseline = kvar.make_baseline("krpo", process_noise=0.0, measurement_noise=1.0)  # gains 1/2, 1/3, 1/4
    np.testing.assert_allclose(baseline.estimate(["a"], [[1.0, 0.0, 1.0]], 0), [[1 / 2, 1 / 3, 1 / 2]])
    assert kvar.make_baseline("krpo").estimate(["a"], [1.0], 0)[0] == pytest.approx(0.99, abs=1e-3)


def test_opo_by_hand():
    baseline = kvar.make_baseline("opo")
    values = baseline.estimate(["a"], [[1.0, 0.0, 1.0]], 0, completion_length=[[10, 30, 20]])
    np.testing.assert_allclose(values, [[0.5] * 3])
    np.testing.assert_array_equal(baseline.estimate(["a"], [1.0], 0, completion_length=[9]), [0.0])
    np.testing.assert_array_equal(baseline.estimate(["a"], [[1.0, 1.0]], 0, completion_length=[0]), [[0.0, 0.0]])


def test_basis_by_hand():
    baseline = kvar.make_baseline("basis")
    # For "a": r = 1 at V = 1/2 and r = 0 at V = 3/4, weights 2 and 4, so the factor is 2 / (2 / 2 + 4 * 3 / 4) = 1/2.
    values = baseline.estimate(["a", "b", "c", "d"], [1.0, 1.0, 0.0, 1.0], 0, offline_value=[0.25, 0.5, 0.75, 1.0])
    assert values[0] == pytest.approx(0.125)
    assert values[3] == 0.0
    np.testing.assert_array_equal(baseline.estimate(["a"], [1.0], 0, offline_value=[0.3]), [0.3])


def test_a_step_before_the_prompts_last_visit_is_refused():
    for name in ("discounted-beta", "kalman"):
        baseline = kvar.make_baseline(name)
        baseline.update(["a"], [1.0], 5)
        baseline.update(["b"], [1.0], 4)
        for call in (baseline.estimate, baseline.update):
            with pytest.raises(ValueError, match="step 4 is earlier than step 5 of prompt 'a'"):
                call(["a"], [1.0], 4)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("discounted-beta", {"forgetting": "epoch"}, "forgetting must be one of 'visit', 'step', 'drift'"),
        ("discounted-beta", {"discount": 1.1}, "discount must be from 0 to 1"),
        ("discounted-beta", {"discount": NAN}, "discount must be from 0 to 1"),
        ("discounted-beta", {"prior": 0.0}, "prior must be a positive number"),
        ("discounted-beta", {"half_life": math.inf}, "half_life must be a positive number"),
        ("kalman", {"drift_rate": -0.1}, "drift_rate must be from 0 to 1"),
        ("buffer", {"size": 2.5}, "size must be a whole number"),
        ("buffer", {"size": 4}, "min_count must be from 1 to size"),
        ("krpo", {"process_noise": -1.0}, "process_noise must be a number from 0 on"),
        ("krpo", {"measurement_noise": 0.0}, "measurement_noise must be a positive number"),
    ],
)
def test_a_wrong_parameter_is_named(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        kvar.make_baseline(name, **parameters)


def test_a_wrong_column_or_reward_is_named():
    spo = kvar.make_baseline("discounted-beta", **SPO)
    with pytest.raises(ValueError, match="needs drift"):
        spo.estimate(["a"], [1.0], 0)
    with pytest.raises(ValueError, match="needs drift with every batch"):
        spo.update(["a"], [1.0], 0)
    with pytest.raises(ValueError, match=r"drift must be .* from 0 on, got nan"):
        spo.update(["a"], [1.0], 0, drift=[NAN])
    with pytest.raises(ValueError, match="completion_length must be a number from 0 on"):
        kvar.make_baseline("opo").estimate(["a"], [1.0], 0, completion_length=[-1])
    with pytest.raises(ValueError, match="offline_value must be from 0 to 1"):
        kvar.make_baseline("basis").estimate(["a"], [1.0], 0, offline_value=[1.1])
    kalman = kvar.make_baseline("kalman")
    for call in (kalman.estimate, kalman.update, kalman.advantages):
        with pytest.raises(ValueError, match=r"baseline 'kalman' takes rewards from 0 to 1, got -0.5"):
            call(["a", "b"], [0.5, -0.5], 0)


# --- their parts ----------------------------------------------------------------------------------------------------


def test_the_table_keeps_every_prompt(rng):
    table, expected = PromptTable(x=0.5, window=np.zeros(3)), {}
    for step in range(50):
        ids = np.unique(rng.integers(0, 500, size=20)).tolist()
        records = table.read(ids)
        assert records["x"].tolist() == [expected.get(i, 0.5) for i in ids]
        records["x"] = rng.random(len(ids))
        table.write(ids, records, step)
        expected.update(zip(ids, records["x"].tolist(), strict=True))
    assert len(table) == len(expected)
    assert table.read(list(expected))["x"].tolist() == list(expected.values())


def test_moments_of_pieces_are_moments_of_the_whole(rng):
    values = rng.normal(5.0, 2.0, size=100)
    moments = RunningMoments()
    assert moments.variance == moments.mean == 0.0
    for piece in np.split(values, [0, 1, 40, 41]):
        moments = moments.updated(piece)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-14)
    assert moments.variance == pytest.approx(values.var(), rel=1e-13)

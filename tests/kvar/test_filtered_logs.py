"""Logs from which groups of equal rewards were filtered out are recognised, and others are not."""

import numpy as np
import pytest

import kvar
from kvar.auditing.equal_groups import EqualGroups
from kvar.auditing.findings import AuditRow, error_saved
from kvar.auditing.groups import Groups
from kvar.intervals import Interval
from kvar.rollouts.step_chunks import SortedTrace


def log(rng, group, levels, n_steps=60, per_step=16, n_prompts=64, keep=lambda rewards: True):
    """Rewards from some levels with probabilities that differ from prompt to prompt; of some groups only."""
    chances = rng.dirichlet(np.ones(len(levels)), n_prompts)
    columns: dict = {"step": [], "prompt_id": [], "reward": []}
    for step in range(n_steps):
        for prompt in rng.choice(n_prompts, per_step, replace=False):
            rewards = rng.choice(levels, group, p=chances[prompt])
            if keep(rewards):
                columns["step"] += [step] * group
                columns["prompt_id"] += [int(prompt)] * group
                columns["reward"] += rewards.tolist()
    return kvar.Trace.from_columns(columns)


def differ(rewards):
    return rewards.min() < rewards.max()


def counted(trace):
    equal = EqualGroups()
    same = 0
    for chunk in SortedTrace.of(trace).chunks([], 10):
        groups = Groups.of(chunk)
        equal.add(groups)
        same += int((groups.low == groups.high).sum())
    return equal.expected(), same


@pytest.mark.parametrize("levels", [(0.0, 1.0), (0.1, 0.3, 0.7), (0.0, 0.5, 1.0, 1.5)], ids=len)
@pytest.mark.parametrize("group", [2, 3, 4, 8, 16])
def test_filtered_logs_are_told_from_whole_ones(rng, group, levels):
    expected, whole = counted(log(rng, group, levels))
    # A lower bound on what is expected, whose own noise is small beside four standard errors.
    assert 0 < expected <= whole + 4 * np.sqrt(max(whole, 1))
    expected, same = counted(log(rng, group, levels, keep=differ))
    assert same == 0
    # Where there are many such groups, their lack is seen.
    assert expected > 10 or whole < 40


def test_the_bound_by_hand():
    # Sixteen groups of four with rewards of their own but for three that are equal, and nine with two pairs.
    rows = [[2.0 * k, 2.0 * k + 1, 2.0 * k + 1, 2.0 * k + 1] for k in range(100, 116)]
    rows += [[2.0 * k, 2.0 * k, 2.0 * k + 1, 2.0 * k + 1] for k in range(9)]
    prompt = np.repeat(np.arange(25), 4)
    trace = kvar.Trace.from_columns({"step": prompt * 0, "prompt_id": prompt, "reward": np.concatenate(rows)})
    a, b = 16, 18
    low, high = a - 2 * np.sqrt(a), b + 2 * np.sqrt(b) + 2
    by_levels = 25 * 50.0**-3
    assert counted(trace)[0] == pytest.approx(max(low**2 * 3 / (8 * high), by_levels))
    # Two groups of two from three levels.
    trace = kvar.Trace.from_columns({"step": [0, 0, 1, 1], "prompt_id": [0, 0, 0, 0], "reward": [0.0, 0.2, 0.2, 0.6]})
    assert counted(trace)[0] == pytest.approx(2 / 3)


def test_rewards_of_many_values_have_no_equal_groups(rng):
    trace = log(rng, 4, (0.0, 1.0))
    noisy = kvar.Trace.from_columns({**trace.columns, "reward": trace.reward + rng.normal(0, 0.01, len(trace))})
    expected, same = counted(noisy)
    assert expected < 1
    assert same == 0
    assert "filtered-groups" not in {f.kind for f in kvar.audit(noisy, ["group-mean", "kernel"]).findings}


@pytest.mark.parametrize("group", [4, 8])
def test_a_filtered_log_gets_no_advice(rng, tmp_path, group):
    report = kvar.audit(log(rng, group, (0.0, 1.0), keep=differ), ["group-mean", "leave-one-out", "kernel", "adaptive"])
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == ("filtered-groups", "high")
    assert "before the filter" in finding.says
    assert report.prompts.are("not judged").all()
    assert report.group_sizes is None
    assert report.windows is None
    assert report.lines == {}
    assert all(np.isnan(row.estimated_value_mse.mean) for row in report.rows)
    page = (report.save(tmp_path) / "audit.html").read_text()
    for wrong in ("% less", "fewer rollouts", "num_generations", "Settings for your trainer"):
        assert wrong not in page


def test_a_value_error_below_zero_is_no_error(rng):
    """Rewards that are no independent draws: exactly two of four are 1 in each group."""
    step, prompt = np.repeat(np.arange(60), 40), np.tile(np.repeat(np.arange(10), 4), 60)
    reward = np.concatenate([rng.permutation([0.0, 0.0, 1.0, 1.0]) for _ in range(600)])
    # Values of many levels, so that groups of equal rewards are not expected.
    reward += np.repeat(rng.normal(0, 1e-3, 600), 4)
    report = kvar.audit(kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": reward}), ["kernel"])
    assert "below 0" in report.findings[0].says
    assert report.group_sizes is None


def test_a_whole_log_keeps_its_advice(rng):
    report = kvar.audit(log(rng, 4, (0.0, 1.0)), ["group-mean", "adaptive"])
    assert report.lines
    assert report.group_sizes is not None
    assert not any(finding.kind == "filtered-groups" for finding in report.findings)


def row(name, mean, high):
    error = Interval(mean, (high - mean) / 2, 2 * mean - high, high, 1000, 10)
    return AuditRow(name, {}, error, error, error, None, False, np.zeros(1))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ((0.02, 0.03), "80 % less"),
        ((-0.001, 0.01), "at least 90 % less"),
        ((0.0001, 0.00011), "at least 99 % less"),
        ((-0.02, -0.01), None),
        ((-0.01, 0.2), None),
        ((0.2, 0.3), None),
    ],
)
def test_what_is_saved_is_never_everything(error, said):
    rows = [row("group-mean", 0.1, 0.12), row("kernel", *error)]
    facts = kvar.audit(kvar.Trace.from_columns({"step": [0, 0], "prompt_id": [0, 0], "reward": [0, 1]}), "none").facts
    found = error_saved(rows, rows[1], facts)
    assert (None if found is None else str(found)) == said

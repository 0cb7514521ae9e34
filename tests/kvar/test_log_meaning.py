"""What rows mean: steps, prompts and rollouts are read right, or it is said that they may not be."""

from pathlib import Path

import numpy as np
import pytest

import kvar
from kvar.readers import read_log
from kvar.readers.prompt_text import first_date, plain_text, without_dates
from kvar.readers.step_in_name import steps_in_names
from kvar.readers.trl_reward_weights import read_rewards
from tests.kvar import generated_logs, shapes_tried
from tests.kvar.test_readers import jsonl


@pytest.mark.parametrize("shape", shapes_tried.SHAPES, ids=lambda shape: shape.name)
def test_a_shape_has_its_outcome(shape):
    found = shapes_tried.tried(shape)
    assert found.outcome == shape.outcome, found
    assert shape.says in found.said
    assert found.said == "" if shape.says == "" and shape.outcome == "read" else found.said


def test_the_page_has_the_shapes():
    assert shapes_tried.PAGE.read_text() == shapes_tried.page()


def test_no_generated_log_is_read_wrongly_in_silence():
    text, trials = generated_logs.table(300)
    wrong = [trial for trial in trials if trial[3] == "silently wrong"]
    assert not wrong, text
    right = sum(trial[3] == "read right" for trial in trials)
    assert right >= 240, text


@pytest.mark.parametrize(
    ("names", "bare", "steps"),
    [
        (["step_3.jsonl", "step-12.jsonl"], False, [3, 12]),
        (["global_step_10_evals/openai_gsm8k.jsonl", "global_step_15_evals/aime24.jsonl"], False, [10, 15]),
        (["train_data_step7.jsonl", "val_data_step7.jsonl"], False, [7, 7]),
        (["step5_qwen2.5-1.5b.jsonl"], False, [5]),
        (["iteration_0003/rank_2.parquet"], False, [3]),
        (["runs/step_4/train/all/traces.jsonl"], False, [4]),
        (["3.jsonl", "12.jsonl.gz"], True, [3, 12]),
        (["3.jsonl", "12.jsonl"], False, [None, None]),
        (["1/0.jsonl", "2/0.jsonl"], True, [None, None]),
        (["rollouts_rank0.jsonl", "rollouts_rank1.jsonl"], True, [None, None]),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], True, [None, None]),
        (["qwen2.5-7b.jsonl", "gsm8k.jsonl", "misstep_3.jsonl"], True, [None, None, None]),
    ],
)
def test_steps_in_names(names, bare, steps):
    assert steps_in_names([Path("/data/run7") / name for name in names], bare) == steps


def test_dates_in_prompts():
    for text, day in [
        ("Today Date: 1 Jul 2026\nHow", "1 Jul 2026"),
        ("Current date: 2026-07-01. Go", "2026-07-01"),
        ("It is Wednesday, July 1, 2026 at 12:30 PM.", "July 1, 2026"),
        ("01/07/2026 12:30:01", "01/07/2026"),
    ]:
        assert first_date(text) == day
        assert without_dates(text).count("#") == 1
        assert not any(digit in without_dates(text) for digit in "2026")
        assert first_date([{"role": "system", "content": text}]) == day
    assert first_date("What is 2026 plus 1?") is None


def test_the_plain_text_of_prompts():
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Why?"}]}]
    assert plain_text(talk) == "Bebrief.Why?"
    assert plain_text("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>") == plain_text(talk)


def test_dates_in_questions_stay(tmp_path, rng):
    days = [f"What happened on {d} May 2019?" for d in range(1, 9)]
    rows = [{"step": s, "prompt": day, "reward": float(rng.random() < 0.5)} for s in range(6) for day in days]
    log = read_log(jsonl(tmp_path / "log.jsonl", rows))
    assert len(set(log.trace.prompt_id.tolist())) == len(days)


def test_identical_answers_are_no_copies(tmp_path, rng):
    rows = [
        {"step": s, "prompt": p, "completion": str(answer), "reward": float(answer == 1)}
        for s in range(8)
        for p in "abcdef"
        for answer in rng.integers(0, 2, 4)
    ]
    log = read_log(jsonl(tmp_path / "log.jsonl", rows))
    assert len(log.trace) == len(rows)
    assert log.notes.doubts == []


@pytest.mark.parametrize("order", ["by prompt", "shuffled", "late"])
def test_rows_in_any_order_are_all_used(tmp_path, rng, order):
    rows = [
        {"step": s, "prompt": f"p{p}", "reward": float(rng.random() < 0.5)}
        for s in range(20)
        for p in range(6)
        for _ in range(4)
    ]
    if order == "by prompt":
        rows.sort(key=lambda row: row["prompt"])
    elif order == "shuffled":
        rows = [rows[k] for k in rng.permutation(len(rows))]
    else:
        rows = [rows[k] for k in np.argsort(np.arange(len(rows)) + rng.integers(0, 10, len(rows)), kind="stable")]
    log = read_log(jsonl(tmp_path / "log.jsonl", rows))
    assert len(log.trace) == len(rows)
    assert any("order of steps" in remark for remark in log.notes.remarks)


def test_rewards_of_turns_that_differ_are_refused(tmp_path):
    rows = [
        {"step": s, "prompt": f"p{p}", "trajectory_id": 2 * p + k, "turn": t, "reward": 0.5 * t}
        for s in range(4)
        for p in range(3)
        for k in range(2)
        for t in range(3)
    ]
    with pytest.raises(ValueError, match=r"trajectory_id.*0, 0\.5, 1.*--columns reward=COLUMN"):
        read_log(jsonl(tmp_path / "log.jsonl", rows))


def test_doubts_warn_and_stand_in_the_audit(tmp_path, rng):
    rows = generated_logs.rollouts(rng, 8, 5, 20, 4)
    path = jsonl(tmp_path / "log.jsonl", generated_logs.only(generated_logs.resumed(rows, rng)))
    with pytest.warns(UserWarning, match="Steps go back"):
        kvar.read_trace(path)
    report = kvar.audit(read_log(path), ["group-mean", "kernel"])
    assert "Steps go back" in report.warnings[0]
    assert not any("Steps go back" in sentence for sentence in report.reading)


# --- rewards of TRL ---------------------------------------------------------------------------------------------------


def _trl(rng, weights, group, scaled, names, n_groups=60):
    """Rewards, advantages and groups, with columns that are no rewards where the weight is 0."""
    index = np.repeat(np.arange(n_groups), group)
    rewards = rng.integers(0, 2, (len(index), len(weights))).astype(float)
    total = rewards @ weights
    centred = total - (np.bincount(index, total) / group)[index]
    deviation = np.sqrt(np.bincount(index, centred**2) / (group - 1))[index]
    advantage = np.float32(
        {"group": centred / (deviation + 1e-4), "batch": centred / total.std(), "none": centred}[scaled]
    )
    return read_rewards(rewards, advantage.astype(float), index, index // 6, names)


@pytest.mark.parametrize("scaled", ["group", "none"])
@pytest.mark.parametrize("group", [2, 3, 4, 8])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.1), (1.0, 0.0), (0.3, 1.0)])
def test_weights_of_rewards(rng, weights, group, scaled):
    found = _trl(rng, np.array(weights), group, scaled, ["accuracy_reward", "format_reward"])
    np.testing.assert_allclose(found.weights, weights, atol=2e-3)
    assert found.sure


def test_weights_that_cannot_be_told_are_asked_for(rng):
    index = np.repeat(np.arange(60), 2)
    rewards = np.array([[0, 0], [1, 1]] * 60, dtype=float)
    advantage = np.array([-0.7071, 0.7071] * 60)
    found = read_rewards(rewards, advantage, index, index // 6, ["accuracy_reward", "format_reward"])
    assert not found.sure
    assert "groups of two" in found.remark
    for reading in ("accuracy_reward+format_reward", "accuracy_reward", "format_reward"):
        assert f"--columns reward={reading}" in found.remark
    # A count is no reward by its name.
    found = read_rewards(rewards, advantage, index, index // 6, ["accuracy_reward", "response_tokens"])
    assert found.weights.tolist() == [1, 0]
    assert not found.sure

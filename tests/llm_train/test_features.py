"""What the trainer has besides the baseline: critic, warm start, order by variance, evaluation, metrics."""

import itertools
import math

import numpy as np
import pytest
import torch

import kvar
from kvar.baselines.score_weighted import ScoreWeighted
from kvar.replaying import replay_baseline
from kvar.rollouts.prompt_ids import prompt_key
from llm_train.policy.exact_value import ExactValue
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from llm_train.trainer.baseline_metrics import baseline_metrics
from llm_train.trainer.critic import CriticBaseline
from llm_train.trainer.pass_rates import exact_pass_rates, pass_at_k, sampled_pass_rates
from tests.llm_train.conftest import trace_of

# --- evaluation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_at_k_counts_subsets_and_is_unbiased(n):
    for passed, k in itertools.product(range(n + 1), range(1, n + 1)):
        outcomes = [1] * passed + [0] * (n - passed)
        subsets = list(itertools.combinations(outcomes, k))
        assert pass_at_k(n, passed, k) == pytest.approx(np.mean([any(s) for s in subsets]))
    for k in range(1, n + 1):
        weights = [math.comb(n, c) * 0.3**c * 0.7 ** (n - c) for c in range(n + 1)]
        assert np.dot(weights, pass_at_k(n, np.arange(n + 1), k)) == pytest.approx(1 - 0.7**k)
    with pytest.raises(ValueError, match=rf"pass@{n + 1} .*got {n}: sample more"):
        pass_at_k(n, [0], n + 1)


def test_pass_rates_over_prompts():
    rewards = {"a": [1.0, 0.0], "b": [0.0, math.nan]}
    assert sampled_pass_rates(rewards, [1, 2], 1.0) == {"pass@1": 0.25, "pass@2": 0.5}
    assert exact_pass_rates([0.5, 0.0], [1, 2]) == {"pass@1": 0.25, "pass@2": 0.375}


def test_sampled_evaluation_agrees_with_the_exact_one(make_trainer):
    tokenizer = make_tokenizer()
    data = sums(6, 9, seed=0).map(lambda row: {"answer": ""})  # an untrained policy ends at once in one of 19 cases
    common = {"per_device_eval_batch_size": 300, "num_generations_eval": 300, "max_steps": 1, "pass_at": [1, 4]}
    truth = ExactValue(tokenizer)

    def reward(completion_ids, **_):
        return [float(list(ids) == [tokenizer.eos_token_id]) for ids in completion_ids]

    sampled = make_trainer("sampled", data, reward, **common).evaluate(data)
    exact = make_trainer("exact", data, reward, extra={"true_value_func": truth}, **common).evaluate(data)
    assert "eval_loss" not in exact  # nothing was sampled
    error = math.sqrt(exact["eval_pass@1"] / 1800)
    assert abs(sampled["eval_pass@1"] - exact["eval_pass@1"]) < 4 * error
    assert abs(sampled["eval_pass@4"] - exact["eval_pass@4"]) < 16 * error


# --- metrics ------------------------------------------------------------------------------------------------------


def test_the_metrics_of_a_step():
    found = kvar.make_baseline("kernel").estimate([1, 2], [[1.0, 0.0], [1.0, np.nan]], 1, return_info=True)
    numbers = baseline_metrics(found, [[1.0, 0.0], [1.0, np.nan]], [[1.0, -1.0], [0.0, 0.0]], [[0.5, 0.5], [0.5, 0.5]])
    values = found.values[[0, 0, 1], [0, 1, 0]]
    assert numbers["one_step_error"] == pytest.approx(np.mean((np.array([1.0, 0.0, 1.0]) - values) ** 2))
    assert numbers["value_mse"] == pytest.approx(np.mean((0.5 - values) ** 2))
    assert numbers["zero_advantage"] == 0.5
    assert numbers["effective_sample_size"] == 1.0  # each of the first prompt's is worth the other one


def test_metrics_and_times_are_logged(make_trainer):
    trainer = make_trainer(baseline="adaptive", block_reuse=4)
    trainer.train()
    entries = [e for e in trainer.state.log_history if "time/step" in e]
    assert len(entries) == 4
    assert entries[-1]["baseline/effective_sample_size"] > entries[0]["baseline/effective_sample_size"]
    assert all(0 < e["baseline/standard_error"] < 1 for e in entries[1:])
    for entry in entries:
        parts = sum(entry[f"time/{name}"] for name in ("generation", "reward", "columns", "baseline", "update"))
        assert parts == pytest.approx(entry["time/step"])


# --- critic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["head", "network"])
def test_the_critic_learns_and_resumes(kind):
    tokenizer = make_tokenizer()
    model = make_policy(tokenizer, seed=0).eval()
    prompts = tokenizer([f"{k}+1=" for k in (3, 44)], return_tensors="pt", padding=True)
    critic, other = (CriticBaseline(kind=kind, learning_rate=0.01, epochs=4) for _ in range(2))
    for baseline in (critic, other):
        baseline.build(model, torch.device("cpu"), seed=1)

    def values(baseline, tokens=prompts):
        return baseline.read(model, tokens["input_ids"], tokens["attention_mask"])

    def learn(baseline, rewards, step):
        baseline.update(["a", "b"], rewards, step, critic_value=values(baseline))

    assert values(critic).tolist() == [0.0, 0.0]
    for step in range(40):
        learn(critic, [0.2, 0.9], step)
    assert values(critic).tolist() == pytest.approx([0.2, 0.9], abs=0.02)
    # The padding of a prompt is no part of it.
    alone = values(critic, tokenizer(["3+1="], return_tensors="pt"))
    assert float(alone) == pytest.approx(float(values(critic)[0]), abs=1e-3)

    other.load_state_dict(critic.state_dict())
    for baseline in (critic, other):
        learn(baseline, [0.5, math.nan], 40)
    assert torch.equal(values(critic), values(other))
    # A recorded column is replayed as it is, and teaches nothing.
    assert kvar.make_baseline("critic").advantages(["a"], [1.0], 0, critic_value=[0.25]).tolist() == [0.75]


def test_the_critic_is_a_baseline_of_the_trainer(make_trainer):
    trainer = make_trainer(baseline="critic", baseline_kwargs={"learning_rate": 0.05}, block_reuse=6, max_steps=6)
    trainer.train()
    trace = trace_of(trainer)
    value = trace.extras["critic_value"]
    assert not value[trace.step == 1].any()
    np.testing.assert_allclose(trace.extras["advantage"], trace.reward - value, atol=1e-6)
    assert value[trace.step == 6].std() < 1
    assert trainer.baseline.n_bytes == 4 * 4 * 129
    with pytest.raises(ValueError, match="'head' or 'network', got 'body'"):
        make_trainer("body", baseline="critic", baseline_kwargs={"kind": "body"})
    with pytest.raises(ValueError, match="kind, learning_rate, epochs; got 'bandwidth'"):
        make_trainer("other", baseline="critic", baseline_kwargs={"bandwidth": 3})


def test_the_norms_of_scores_are_recorded_and_weigh_rewards(make_trainer):
    trainer = make_trainer(baseline="score-weighted", block_reuse=3, max_steps=3)
    trainer.train()
    trace = trace_of(trainer)
    assert (trace.extras["score_norm"] > 0).all()
    values = replay_baseline(trace, ScoreWeighted()).values
    np.testing.assert_allclose(trace.extras["advantage"], trace.reward - values, atol=1e-6)
    # Any other run can record them too, by fewer parameters.
    other = make_trainer("other", score_norms="last-layer", max_steps=1)
    other.train()
    assert (trace_of(other).extras["score_norm"] < trace.extras["score_norm"][:8].max()).all()


# --- warm start ---------------------------------------------------------------------------------------------------


def test_rollouts_before_training_fill_the_history(make_trainer):
    # Seven prompts in chunks of two: the last chunk is filled up, and its copies are not remembered.
    data = sums(7, 9, seed=0)
    trainer = make_trainer(data=data, warm_start_rollouts=4, max_steps=1, baseline="adaptive")
    trainer.train()
    history = trainer.baseline.state_dict()["state"]["history"]
    at_start = history["counts"] * (history["steps"] == 0)
    assert at_start.sum() == 7 * 4
    assert (at_start.sum(axis=1) == 4).all()
    assert set(trainer.offline_values) == {prompt_key(prompt) for prompt in data["prompt"]}
    assert all(4 * value == int(4 * value) for value in trainer.offline_values.values())
    assert len(trace_of(trainer)) == 8  # what was sampled before is no part of the run


def test_basis_gets_its_offline_values(make_trainer):
    trainer = make_trainer(warm_start_rollouts=4, max_steps=2, baseline="basis")
    trainer.train()
    trace = trace_of(trainer)
    wanted = [trainer.offline_values[key] for key in trace.prompt_id]
    np.testing.assert_allclose(trace.extras["offline_value"], wanted)


# --- examples in docstrings ---------------------------------------------------------------------------------------

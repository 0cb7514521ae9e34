"""Features of prompts: the policy's hidden states, and how they reach baseline and trace."""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from kvar import read_trace
from llm_train.policy.prompt_features import hidden_states, last_states, with_prompt_features
from llm_train.policy.tiny import make_policy, make_tokenizer, sums


@pytest.fixture(scope="module")
def policy():
    return make_policy(make_tokenizer(), seed=0)


def test_a_state_does_not_depend_on_the_other_prompts_of_its_batch(policy):
    tokenizer = make_tokenizer()
    together = hidden_states(policy, tokenizer, ["2+3=", "14+15=", "7+80="])
    assert together.shape == (3, policy.config.hidden_size)
    for row, prompt in zip(together, ["2+3=", "14+15=", "7+80="], strict=True):
        np.testing.assert_allclose(hidden_states(policy, tokenizer, [prompt])[0], row, rtol=1e-4, atol=1e-5)


def test_states_are_those_of_a_plain_forward_pass(policy):
    tokens = make_tokenizer()(["2+3=", "7+8="], return_tensors="pt")
    ids, mask = tokens["input_ids"].repeat(40, 1), tokens["attention_mask"].repeat(40, 1)  # more than one batch
    with torch.no_grad():
        expected = policy(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
    adapted = get_peft_model(copy.deepcopy(policy), LoraConfig(r=2, target_modules=["q_proj"]))
    for model in (policy, adapted):  # a new adapter changes nothing
        for layer in (2, -1):
            torch.testing.assert_close(last_states(model, ids, mask, layer), expected[layer][:, -1])


def test_features_are_principal_coordinates(policy):
    tokenizer, dataset = make_tokenizer(), sums(40, 9, seed=0)
    featured = with_prompt_features(dataset, policy, tokenizer, n_features=3)
    assert featured.column_names == [*dataset.column_names, "feature_0", "feature_1", "feature_2"]
    points = np.stack([featured[f"feature_{k}"] for k in range(3)], axis=1)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-4)
    covariance = points.T @ points
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-4 * covariance[0, 0])
    assert (np.diff(np.diag(covariance)) < 0).all()
    states = hidden_states(policy, tokenizer, dataset["prompt"])
    largest = np.linalg.eigvalsh(np.cov(states.T, bias=True))[::-1][:3] * len(states)
    np.testing.assert_allclose(np.diag(covariance), largest, rtol=1e-3)
    with pytest.raises(ValueError, match="n_features must be at least 1, got 0"):
        with_prompt_features(dataset, policy, tokenizer, n_features=0)


def test_features_reach_the_baseline_and_the_trace(make_trainer, policy, tmp_path):
    dataset = with_prompt_features(sums(8, 9, seed=0), policy, make_tokenizer(), n_features=2)
    trainer = make_trainer(data=dataset, baseline="adaptive", baseline_kwargs={})
    trainer.train()
    assert trainer.baseline.state_dict()["state"]["features"]["names"] == ["feature_0", "feature_1"]
    trace = read_trace(tmp_path / "run" / "trace")
    assert set(np.float32(dataset["feature_1"])) >= set(trace.extras["feature_1"].astype(np.float32))

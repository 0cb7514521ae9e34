"""Scores and gradient errors against one rollout at a time, against the exact gradient, and through the whole study."""

import copy

import numpy as np
import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from kvar import read_trace
from llm_train.policy import gradient_scores as scoring
from llm_train.policy.exact_value import answer_log_probabilities
from llm_train.policy.gradient_scores import chosen_parameters, score_norms, scores
from llm_train.policy.tiny import make_policy, make_tokenizer
from llm_train.studies.gradient_study import BASELINES, OPTIMAL, Study, measure, record, sample_completions
from llm_train.studies.gradient_tables import main, table
from llm_train.studies.stage_errors import BLOCK
from llm_train.tasks.load_task import load_task


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    return make_policy(tokenizer, seed=0).eval(), tokenizer


@pytest.mark.parametrize("which", ["all", "last-layer"])
def test_scores_are_those_of_single_rollouts(policy, which):
    model, tokenizer = policy
    parameters = chosen_parameters(model, which)
    prompts = [tokenizer(p)["input_ids"] for p in ("1+2=", "47+9=", "3+3=")]
    completions = [tokenizer(a)["input_ids"] for a in ("3", "56", "+")]
    completions[0].append(tokenizer.eos_token_id)
    found = scores(model, parameters, prompts, completions, chunk=2)
    for row, prompt, completion in zip(found, prompts, completions, strict=True):
        log_probability = answer_log_probabilities(model, [prompt], [completion]).sum()
        alone = torch.autograd.grad(log_probability, list(parameters.values()))
        torch.testing.assert_close(row, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)
    norms = score_norms(model, parameters, prompts, completions, chunk=2)
    torch.testing.assert_close(norms, found.norm(dim=1), rtol=1e-5, atol=0)


def test_scores_are_those_of_the_policy_as_it_samples(policy):
    model, tokenizer = policy
    parameters = chosen_parameters(model, "last-layer")
    prompt, answer = tokenizer("1+2=")["input_ids"], tokenizer("3")["input_ids"]
    found = scores(model, parameters, [prompt], [answer], temperature=0.5)[0]
    log_probability = torch.log_softmax(model(torch.tensor([prompt])).logits[0, -1].double() / 0.5, 0)[answer[0]]
    alone = torch.autograd.grad(log_probability, list(parameters.values()))
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)


def test_scores_of_an_adapter(policy):
    model, tokenizer = policy
    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5))
    parameters = chosen_parameters(adapted, "lora")
    prompts, completions = [tokenizer("1+2=")["input_ids"]] * 2, [tokenizer(a)["input_ids"] for a in ("3", "4")]
    found = scores(adapted, parameters, prompts, completions)
    adapted.eval()
    for row, prompt, completion in zip(found, prompts, completions, strict=True):
        log_probability = answer_log_probabilities(adapted, [prompt], [completion]).sum()
        alone = torch.autograd.grad(log_probability, list(parameters.values()))
        torch.testing.assert_close(row, torch.cat([g.flatten() for g in alone]), rtol=1e-4, atol=1e-5)
    assert found.any()
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert set(parameters) == trained == set(chosen_parameters(adapted))
    assert set(chosen_parameters(adapted, "last-layer")) == {name for name in trained if ".layers.3." in name}


def test_norms_hold_no_more_scores_than_fit(policy, monkeypatch):
    model, tokenizer = policy
    parameters = chosen_parameters(model, "last-layer")
    prompts, completions = [tokenizer("1+2=")["input_ids"]] * 5, [tokenizer(a)["input_ids"] for a in "34567"]
    wanted, held, inner = score_norms(model, parameters, prompts, completions), [], scoring.scores

    def counted(*args):
        held.append(len(args[2]))
        return inner(*args)

    monkeypatch.setattr(scoring, "scores", counted)
    entries = sum(p.numel() for p in parameters.values())
    for limit, sizes in ((2 * entries, [2, 2, 1]), (entries - 1, [1] * 5)):
        monkeypatch.setattr(scoring, "_MOST_ENTRIES", limit)
        held.clear()
        torch.testing.assert_close(score_norms(model, parameters, prompts, completions), wanted, rtol=1e-5, atol=0)
        assert held == sizes


def test_which_parameters(policy):
    model, _ = policy
    assert sum(p.numel() for p in chosen_parameters(model).values()) == sum(p.numel() for p in model.parameters())
    assert all(".layers.3." in name for name in chosen_parameters(model, "last-layer"))
    with pytest.raises(ValueError, match="no parameters of the kind 'lora'"):
        chosen_parameters(model, "lora")
    with pytest.raises(ValueError, match="must be one of all, last-layer, lora, got 'head'"):
        chosen_parameters(model, "head")


def test_samples_follow_the_policy(policy):
    model, tokenizer = policy
    prompts = [tokenizer("1+2=")["input_ids"]] * 2000 + [tokenizer("47+9=")["input_ids"]] * 2000
    sampled = sample_completions(model, prompts, 1, tokenizer.eos_token_id, torch.Generator().manual_seed(0))
    for start in (0, 2000):
        with torch.no_grad():
            wanted = torch.softmax(model(torch.tensor([prompts[start]])).logits[0, -1], 0).numpy()
        shares = np.bincount([y[0] for y in sampled[start : start + 2000]], minlength=len(wanted)) / 2000
        assert (np.abs(shares - wanted) < 4.5 * np.sqrt(wanted * (1 - wanted) / 2000)).all()


def test_the_study_from_a_run_to_its_table(tmp_path):
    small = {"largest": 9, "n_prompts": 16, "max_completion_length": 3, "sft_steps": 10, "learning_rate": 1e-4}
    study = Study(tmp_path, small, prompts_per_step=4, stages=(0,))
    left = tmp_path / "run-g2" / "trace" / "step-000000099.parquet"  # by a run that was killed
    left.parent.mkdir(parents=True)
    left.touch()
    record(study, 2)
    assert not left.exists()
    trace, rates = read_trace(tmp_path / "run-g2" / "trace"), np.load(tmp_path / "run-g2" / "offline.npy")
    said = trace.extras["critic_value"]
    assert not said[trace.step == 1].any()
    assert said[trace.step == BLOCK].all()
    at_start = AutoModelForCausalLM.from_pretrained(tmp_path / "run-g2" / "policy-0")
    task = load_task(study.run_settings(2).run, make_tokenizer(), seed=1)
    truth = np.array(task.exact_value(at_start, list(task.train)))
    assert abs(rates.mean() - truth.mean()) < 4.5 * np.sqrt((truth * (1 - truth)).sum() / 8) / len(truth)
    found = pl.DataFrame(measure(study, 2, 5, repetitions=6))
    assert set(found["baseline"]) == {*BASELINES, OPTIMAL}
    assert len(found) == 6 * (len(BASELINES) + 1)
    mean = {name: found.filter(pl.col("baseline") == name) for name in (*BASELINES, OPTIMAL)}
    assert mean["oracle"]["value_mse"].max() == 0
    # REINFORCE has the square of the gradient's norm and more as its error; the optimum has less than the value has.
    error = {name: rows["gradient_mse"].mean() for name, rows in mean.items()}
    assert error[OPTIMAL] < error["oracle"]
    # The group's own rewards in its mean shrink the gradient by (G - 1) / G.
    pairs = zip(mean["group-mean"]["gradient_mse"], mean["leave-one-out"]["gradient_mse"], strict=True)
    assert all(abs(own**0.5 - 0.5 * other**0.5) < 0.5 * norm**0.5 + 1e-9
               for (own, other), norm in zip(pairs, mean["oracle"]["gradient_norm2"], strict=True))  # fmt: skip
    # The policy that wrote step 6 is the one that was measured, and the critic is the one that had learned by then.
    error = (said - trace.extras["true_value"])[trace.step == 6]
    np.testing.assert_allclose(mean["critic"]["value_mse"].unique(), [(error**2).mean()], rtol=1e-4)
    text = table(found)
    assert "| oracle | 0.00 ± 0.00 |" in text
    assert f"| {OPTIMAL} |" in text
    assert BLOCK == 10


def test_results_of_other_settings_are_not_taken_for_these(tmp_path, capsys):
    (tmp_path / "settings.json").write_text('{"seed": 0}')
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--seed", "1"])
    assert "was made with other baselines, " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--repetitions", "1"])
    assert "2 repetitions or more, got 1" in capsys.readouterr().err

"""Plug-ins for other trainers, called as those trainers call them.

The interfaces are those in the sources of SkyRL 0.4.0, verl 0.9.1, slime and NeMo-RL. real_frameworks.py, next to this
file, goes through SkyRL and verl themselves where they are installed.
"""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import kvar
from llm_train.plugins import PromptHistory, nemo_rl, skyrl, slime, verl

EXAMPLES = Path(skyrl.__file__).parent / "examples"
# Two steps on the same three prompts with two rollouts each, in consecutive rows.
STEPS = [[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]]
PROMPTS = [7, 7, 8, 8, 9, 9]
RANDOM_UID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"


def column_of(values):
    return np.array(values, dtype=object)


def expected():
    baseline = kvar.make_baseline("adaptive")
    return [baseline.advantages([7, 8, 9], np.array(r).reshape(3, 2), i).ravel() for i, r in enumerate(STEPS, start=1)]


def token_level(rewards, width=4):
    """Rewards at the last token of responses of different lengths."""
    table, mask = torch.zeros(len(rewards), width), torch.zeros(len(rewards), width)
    for k, reward in enumerate(rewards):
        length = 1 + k % width
        table[k, length - 1], mask[k, :length] = reward, 1.0
    return table, mask


def test_the_history_counts_calls_and_outlives_the_process(tmp_path, caplog):
    path = tmp_path / "history.safetensors"
    found = []
    for rewards in STEPS:
        history = PromptHistory(state_path=path)  # a new process each time
        found.append(history.advantages(PROMPTS, rewards))
    np.testing.assert_array_equal(found, expected())
    assert f"{path}, which ends at step 1" in caplog.text
    with pytest.raises(ValueError, match="'adaptive'"):
        PromptHistory("kernel", state_path=path).advantages(["a"], [1.0])
    with pytest.raises(ValueError, match=r"absolute.* got 'history\.safetensors'"):
        PromptHistory(state_path=path.name)
    assert PromptHistory().advantages(["a"], [None]).tolist() == [0.0]
    with pytest.raises(ValueError, match=r"'oracle' needs true_value.* use adaptive"):
        PromptHistory("oracle")


def test_skyrl_leaves_padding_rows_out():
    estimator = skyrl.AdvantageEstimator()
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        # SkyRL copies row 0 into the rows that fill the batch up.
        table, mask = token_level([*rewards, rewards[0], rewards[0]])
        index = np.array([*map(str, PROMPTS), "pad0", "pad1"])
        advantages, returns = estimator(
            token_level_rewards=table, response_mask=mask, index=index, grpo_norm_by_std=True, config=None
        )
        np.testing.assert_allclose(advantages[:6], wanted[:, None] * mask[:6].numpy(), atol=1e-7)
        assert not advantages[6:].any()
        assert torch.equal(advantages, returns)
        assert advantages.dtype == torch.float32
    with pytest.raises(ValueError, match="no index"):
        estimator(table, mask, None)


def test_slime_gets_advantages_for_rewards():
    class Sample:
        def __init__(self, question, reward, metadata=None):
            self.prompt = [{"role": "user", "content": question}]
            self.reward, self.metadata = reward, metadata

        def get_reward_value(self, args):
            return self.reward[args.reward_key] if args.reward_key else self.reward

    args = SimpleNamespace(reward_key="score", kvar_baseline="adaptive", kvar_baseline_kwargs={}, kvar_state_path=None)
    slime._histories.clear()
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        samples = [
            Sample(f"question {p}", {"score": r}, {"prompt_id": "eight"} if p == 8 else {})
            for p, r in zip(PROMPTS, rewards, strict=True)
        ]
        raw, advantages = slime.post_process_rewards(args, samples)
        assert raw == rewards
        np.testing.assert_allclose(advantages, wanted)
    raw, advantages = slime.post_process_rewards(args, [Sample("question 9", None)])
    assert (raw, advantages) == ([None], [0.0])


def test_verl_refuses_names_that_change():
    table, mask = token_level(STEPS[0])
    estimator = verl.AdvantageEstimator()
    with pytest.raises(ValueError, match=rf"got uid {RANDOM_UID}.*use_stable_keys\(\)"):
        estimator(table, mask, index=column_of([RANDOM_UID] * 6), config=None)
    with pytest.raises(ValueError, match=r"no index.*use_stable_keys\(\)"):
        estimator(table, mask, config=None)
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        table, mask = token_level(rewards)
        advantages, _ = estimator(table, mask, index=column_of([f"gsm8k/{p}" for p in PROMPTS]), config=None)
        np.testing.assert_allclose(advantages, wanted[:, None] * mask.numpy(), atol=1e-7)


def test_verl_sees_the_row_in_place_of_the_random_name():
    uid = column_of([RANDOM_UID] * 6)
    infos = column_of([{"index": p} for p in PROMPTS])
    columns = {"uid": uid, "extra_info": infos, "data_source": column_of(["gsm8k"] * 6)}
    data = SimpleNamespace(non_tensor_batch=columns)
    seen = verl.stable_keys(lambda data, **_: list(data.non_tensor_batch["uid"]))(data)
    assert seen == [f"gsm8k/{p}" for p in PROMPTS]
    assert columns["uid"] is uid
    columns["extra_info"][3] = {}
    with pytest.raises(ValueError, match=r"no extra_info\['index'\].*number"):
        verl.stable_keys(lambda data: None)(data)


@pytest.mark.parametrize("named_by", ["rows", "tokens", "numbers"])
def test_nemo_rl_names_prompts_whatever_the_padding(named_by):
    estimator = nemo_rl.KernelAdvantageEstimator({"baseline": "adaptive", "pad_token_id": 0}, {})
    for step, (rewards, wanted) in enumerate(zip(STEPS, expected(), strict=True)):
        tokens = torch.tensor([[p, p + 1] + [0] * (1 + step) for p in PROMPTS])
        batch = {"idx": torch.tensor(PROMPTS), "task_name": ["math"] * 6} if named_by == "rows" else {}
        advantages = estimator.compute_advantage(
            prompt_ids=torch.tensor(PROMPTS) if named_by == "numbers" else tokens, rewards=torch.tensor(rewards),
            mask=torch.ones(6, 5), repeated_batch=batch, logprobs_policy=None, logprobs_reference=None,
        )  # fmt: skip
        np.testing.assert_allclose(advantages, np.repeat(wanted[:, None], 5, axis=1), atol=1e-7)


def test_nemo_rl_leaves_invalid_rows_out_and_installs():
    module = SimpleNamespace(__name__="grpo", _create_advantage_estimator=None)
    nemo_rl.install(module)
    config = SimpleNamespace(grpo={"adv_estimator": {"name": "grpo", "baseline": "kernel"}}, loss_fn={})
    estimator = module._create_advantage_estimator(config)
    assert estimator.history.baseline.name == "kernel"
    rewards, valid = torch.tensor([1.0, 0.0, 9.0]), torch.tensor([1.0, 1.0, 0.0])
    advantages = estimator.compute_advantage(torch.tensor([1, 1, 1]), rewards, torch.ones(3, 2), valid_mask=valid)
    assert advantages[:, 0].tolist() == [1.0, -1.0, 0.0]
    with pytest.raises(ValueError, match="pad_token_id"):
        estimator.compute_advantage(torch.ones(3, 2), torch.zeros(3), torch.ones(3, 2))
    with pytest.raises(AttributeError, match=r"grpo has no .*NeMo-RL"):
        nemo_rl.install(SimpleNamespace(__name__="grpo"))


# --- score norms ---------------------------------------------------------------------------------------------------

WIDTH = 4
LOGPROBS = -np.random.default_rng(0).exponential(size=(2, 6, WIDTH))  # of the two steps


def expected_by_norms(masks, baseline="variance-optimal"):
    baseline = kvar.make_baseline(baseline)
    norms = [kvar.score_norm_from_logprobs(*step) for step in zip(LOGPROBS, masks, strict=True)]
    return [
        baseline.advantages(PROMPTS, np.array(rewards), step, score_norm=norms[step - 1])
        for step, rewards in enumerate(STEPS, start=1)
    ]


def masks():
    return [token_level(rewards)[1].numpy() for rewards in STEPS]


@pytest.mark.parametrize("baseline", ["variance-optimal", "score-weighted"])
def test_the_history_takes_norms(baseline):
    history = PromptHistory(baseline)
    assert history.needs_norms
    assert not PromptHistory().needs_norms
    for rewards, logprobs, mask, wanted in zip(
        STEPS, LOGPROBS, masks(), expected_by_norms(masks(), baseline), strict=True
    ):
        norms = kvar.score_norm_from_logprobs(logprobs, mask)
        np.testing.assert_array_equal(history.advantages(PROMPTS, rewards, norms), wanted)
    with pytest.raises(ValueError, match=r"needs score_norm"):
        history.advantages(PROMPTS, rewards)


@pytest.mark.parametrize("column", ["old_log_probs", "rollout_log_probs"])
def test_verl_has_norms_at_hand(column):
    estimator = verl.AdvantageEstimator("variance-optimal")

    def compute_advantage(data):
        return estimator(
            data.batch["token_level_rewards"], data.batch["response_mask"], index=data.non_tensor_batch["uid"]
        )[0]

    for rewards, logprobs, wanted in zip(STEPS, LOGPROBS, expected_by_norms(masks()), strict=True):
        table, mask = token_level(rewards)
        given = torch.tensor(logprobs).masked_fill(mask == 0, 7.0)
        batch = {"token_level_rewards": table, "response_mask": mask, "rollout_log_probs": torch.zeros(6, WIDTH)}
        columns = {"uid": column_of([RANDOM_UID] * 6), "extra_info": column_of([{"index": p} for p in PROMPTS])}
        data = SimpleNamespace(batch={**batch, column: given}, non_tensor_batch=columns)
        advantages = verl.stable_keys(compute_advantage)(data)
        np.testing.assert_allclose(advantages, wanted[:, None] * mask.numpy(), atol=1e-7)
    with pytest.raises(ValueError, match=r"log-probabilities of the 6 rollouts, got none: .*use_stable_keys\(\)"):
        estimator(table, mask, index=column_of([f"gsm8k/{p}" for p in PROMPTS]))


@pytest.mark.parametrize("column", ["action_log_probs", "rollout_logprobs"])
def test_skyrl_has_norms_at_hand(column):
    estimator = skyrl.AdvantageEstimator("variance-optimal")
    index, filled = np.array([*map(str, PROMPTS), "pad0"]), [0, 1, 2, 3, 4, 5, 0]
    own = [mask * (np.arange(WIDTH) != 1) for mask in masks()]  # the second token is the environment's

    def compute(trainer, data):
        return estimator(token_level_rewards=data["rewards"], response_mask=data["response_mask"], index=index)[0]

    for rewards, logprobs, loss_mask, wanted in zip(STEPS, LOGPROBS, own, expected_by_norms(own), strict=True):
        table, mask = token_level([*rewards, rewards[0]])
        data = {"rewards": table, "response_mask": mask, "action_log_probs": None, "rollout_logprobs": torch.ones(7, 4)}
        data |= {column: torch.tensor(logprobs[filled]), "loss_mask": torch.tensor(loss_mask[filled])}
        advantages = skyrl.with_log_probabilities(compute)(None, data)
        np.testing.assert_allclose(advantages[:6], wanted[:, None] * mask[:6].numpy(), atol=1e-7)
        assert not advantages[6:].any()
    with pytest.raises(ValueError, match=r"of the 7 rollouts, got none: .*use_log_probabilities\(\)"):
        compute(None, data)
    # Step-wise trajectories: the estimator sees one row for several.
    with pytest.raises(ValueError, match=r"of the 7 rollouts, got 8: .*step_wise_trajectories=false"):
        skyrl.with_log_probabilities(compute)(None, {**data, column: torch.zeros(8, 4)})


def test_slime_takes_norms_from_its_samples():
    def sample(prompt, reward, logprobs, mask, **more):
        given = {"prompt": f"question {prompt}", "reward": reward, "metadata": {"prompt_id": prompt}}
        given |= {"rollout_log_probs": logprobs, "loss_mask": mask, "remove_sample": False, **more}
        return SimpleNamespace(**given, get_reward_value=lambda args: reward)

    args = SimpleNamespace(kvar_baseline="variance-optimal", rollout_top_p=1.0, rollout_top_k=-1)
    slime._histories.clear()
    own = masks()
    own[1][5] = 0.0  # a sample that is left out of the loss
    for step, (rewards, wanted) in enumerate(zip(STEPS, expected_by_norms(own), strict=True)):
        samples = [
            sample(p, r, list(logprobs), None if mask.all() else mask.astype(int).tolist())
            for p, r, logprobs, mask in zip(PROMPTS, rewards, LOGPROBS[step], own[step], strict=True)
        ]
        if step == 1:
            samples[5].loss_mask, samples[5].remove_sample = [1] * WIDTH, True
        np.testing.assert_allclose(slime.post_process_rewards(args, samples)[1], wanted, atol=1e-12)
    failed = sample(7, None, None, None)
    assert slime.post_process_rewards(args, [failed, samples[1]])[1][0] == 0.0
    with pytest.raises(ValueError, match="no sample has rollout_log_probs"):
        slime.post_process_rewards(args, [failed])
    args.rollout_top_p = 0.9
    with pytest.raises(ValueError, match=r"got rollout_top_p=0\.9: set it to 1"):
        slime.post_process_rewards(args, samples)


def test_nemo_rl_takes_norms_from_the_policy():
    estimator = nemo_rl.KernelAdvantageEstimator({"baseline": "variance-optimal"})
    for rewards, logprobs, wanted in zip(STEPS, LOGPROBS, expected_by_norms(masks()), strict=True):
        mask = token_level(rewards)[1]
        arguments = {"prompt_ids": torch.tensor(PROMPTS), "rewards": torch.tensor(rewards), "mask": mask}
        advantages = estimator.compute_advantage(**arguments, logprobs_policy=torch.tensor(logprobs))
        np.testing.assert_allclose(advantages[:, 0], wanted, atol=1e-7)
    for nothing in (None, torch.zeros(6, WIDTH)):
        with pytest.raises(ValueError, match=r"no log-probabilities.*force_on_policy_ratio=false"):
            estimator.compute_advantage(**arguments, logprobs_policy=nothing)


def test_the_examples_name_what_exists():
    for path in EXAMPLES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("llm_train"):
                module = __import__(node.module, fromlist=["_"])
                assert all(hasattr(module, alias.name) for alias in node.names)
    settings = yaml.safe_load((EXAMPLES / "slime.yaml").read_text())
    assert settings.keys() == {"kvar_baseline", "kvar_baseline_kwargs", "kvar_state_path"}
    assert "llm_train.plugins.slime.post_process_rewards" in (EXAMPLES / "slime.sh").read_text()


def test_slime_counts_the_siblings_of_a_rollout_once():
    def sample(prompt, reward, rollout):
        return SimpleNamespace(
            prompt=prompt, reward=reward, rollout_id=rollout, metadata={}, get_reward_value=lambda args: reward
        )

    args = SimpleNamespace(kvar_baseline="leave-one-out", kvar_baseline_kwargs={})
    slime._histories.clear()
    samples = [*[sample("p", 1.0, 0)] * 3, *[sample("p", 0.0, 1)] * 2, sample("q", 1.0, 2), sample("q", 1.0, None)]
    raw, advantages = slime.post_process_rewards(args, samples)
    assert raw == [1.0] * 3 + [0.0] * 2 + [1.0] * 2
    assert advantages == [1.0] * 3 + [-1.0] * 2 + [0.0] * 2

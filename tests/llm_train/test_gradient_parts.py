"""Parts of a step's gradient: the estimator against its expectation, what it is fed against exact scores."""

import itertools

import numpy as np
import pytest
import torch

from llm_train.policy.gradient_scores import scores
from llm_train.run.train import _make_trainer
from llm_train.trainer import gradient_parts as module
from llm_train.trainer.gradient_parts import gradient_parts
from tests.llm_train.tiny_run import settings


def test_the_parts_are_unbiased():
    # Each prompt, drawn with probability 1/2, has three gradients with these probabilities.
    gradients = np.array([[[1.0, 2.0], [0.0, -1.0], [0.5, 0.0]], [[-1.0, 0.0], [2.0, 2.0], [0.0, 1.0]]])
    chances = np.array([[0.5, 0.25, 0.25], [0.2, 0.5, 0.3]])
    of_prompt = np.einsum("po,pod->pd", chances, gradients)
    mean = of_prompt.mean(axis=0)
    prompt_part = ((of_prompt - mean) ** 2).sum(axis=1).mean()
    rollout_part = (chances * ((gradients - of_prompt[:, None]) ** 2).sum(axis=2)).sum() / 2
    for sizes in ((2, 2), (1, 1, 1)):
        expected, owners = dict.fromkeys(module._NAMES, 0.0), np.repeat(np.arange(len(sizes)), sizes)
        for drawn in itertools.product(range(2), repeat=len(sizes)):
            for outcome in itertools.product(range(3), repeat=sum(sizes)):
                of_rollouts = np.array(drawn)[owners]
                chance = 0.5 ** len(sizes) * chances[of_rollouts, outcome].prod()
                for name, number in gradient_parts(gradients[of_rollouts, outcome], owners).items():
                    expected[name] += chance * number
        group = sizes[0]
        assert expected["signal"] == pytest.approx(mean @ mean)
        assert expected["noise"] == pytest.approx(group * prompt_part + rollout_part)
        if group > 1:
            assert expected["prompt_part"] == pytest.approx(prompt_part)
            assert expected["rollout_part"] == pytest.approx(rollout_part)
        else:
            assert np.isnan([expected["prompt_part"], expected["rollout_part"]]).all()


def test_a_run_measures_the_gradients_of_its_rollouts(tmp_path, monkeypatch):
    """With a learning rate of 0 the policy stays, so that its exact scores can be taken afterwards."""
    seen = []
    monkeypatch.setattr(module, "gradient_parts", lambda *parts: seen.append(parts) or gradient_parts(*parts))
    given = {"max_steps": 1, "learning_rate": 0.0, "gradient_accumulation_steps": 2, "logging_steps": 1}
    given |= {"sft_steps": 40, "baseline": "none", "wrong_reward": -1.0, "beta": 0.0}
    trainer = _make_trainer(settings(tmp_path / "run", **given), False, lambda *_, **__: None)
    outputs = []
    make = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: outputs.append(inputs) or make(model, inputs)
    trainer.train()
    (gradients, prompts), model, wanted, ids = seen[0], trainer.model, [], []
    for inputs in outputs:
        rows = [
            [ids[mask.bool()].tolist() for ids, mask in zip(inputs[f"{of}_ids"], inputs[f"{of}_mask"], strict=True)]
            for of in ("prompt", "completion")
        ]
        weight = model.model.norm.weight
        exact = scores(model, {"model.norm.weight": weight}, *rows) * weight.detach()
        wanted.append(inputs["advantages"][:, None] * exact)
        ids += map(tuple, rows[0])
    wanted = torch.cat(wanted).double().numpy()
    assert len(gradients) == len(wanted) == len(prompts)
    factor = np.vdot(gradients, wanted) / np.vdot(wanted, wanted)  # of the loss, which TRL divides by tokens
    assert factor < 0
    np.testing.assert_allclose(gradients, factor * wanted, rtol=0, atol=1e-4 * np.abs(gradients).max())
    assert [prompts[k] == prompts[0] for k in range(len(ids))] == [prompt == ids[0] for prompt in ids]
    logged = trainer.state.log_history
    entry = next(entry for entry in logged if "gradient/noise" in entry)
    assert entry["gradient/noise"] > 0
    if entry["gradient/signal"] > 0:
        assert entry["gradient/noise_scale"] == pytest.approx(entry["gradient/noise"] / entry["gradient/signal"])

"""The trainer with orders of prompts that are drawn by what the history says: weights, resuming and refusals."""

import numpy as np
import pytest

import kvar
from kvar.prompt_draws import Drawn
from llm_train.trainer.prompt_samplers import DrawnSampler
from tests.llm_train.conftest import checkpoint_of, sums, trace_of


def test_an_old_state_without_weights_is_read():
    def new():
        return DrawnSampler(list(range(5)), 1, 1, 1, 1, True, 0, draw=lambda n, g: Drawn(tuple(g.choice(5, n)), (1.0,)))

    first = new()
    prompts = list(first)
    state = first.state_dict()
    del state["weights"]
    second = new()
    second.load_state_dict(state)
    assert list(second) == prompts
    assert second.of_generation(0, 1).weights == (1.0,)


def test_rollouts_weigh_the_inverse_of_their_probability(make_trainer):
    trainer = make_trainer(
        data=sums(20, 9, seed=0), prompt_order="importance", baseline="adaptive", block_reuse=2, max_steps=7
    )
    trainer.train()
    trace, replay = trace_of(trainer), kvar.make_baseline("adaptive")
    for step in range(1, 8):
        rows = trace.step == step
        plain = replay.advantages(trace.prompt_id[rows], trace.reward[rows], step)
        drawn = trainer._attached._sampler.of_generation(step - 1, 2)
        weights = dict(zip((trainer.all_keys[k] for k in drawn.prompts), drawn.weights, strict=True))
        wanted = plain * [weights[key] for key in trace.prompt_id[rows]]
        np.testing.assert_allclose(trace.extras["advantage"][rows], wanted, atol=1e-6)
    assert len({*weights.values()}) > 1


@pytest.mark.parametrize(
    ("order", "baseline"), [("variance", "adaptive"), ("importance", "variance-optimal"), ("arc", "variance-optimal")]
)
def test_a_drawn_order_resumes(make_trainer, order, baseline):
    settings = {"prompt_order": order, "block_reuse": 2, "baseline": baseline}
    data = sums(20, 9, seed=0)
    whole = make_trainer("whole", data=data, max_steps=14, **settings)
    whole.train()
    # 20 prompts, 4 a step, blocks of 2: an epoch has ten steps, and the checkpoint falls inside the first.
    first = make_trainer("parts", data=data, max_steps=5, save_strategy="steps", save_steps=4, **settings)
    first.train()
    second = make_trainer("parts", data=data, max_steps=14, **settings)
    second.train(resume_from_checkpoint=str(checkpoint_of(first, 4)))
    found, wanted = trace_of(second), trace_of(whole)
    assert found.prompt_id.tolist() == wanted.prompt_id.tolist()
    np.testing.assert_array_equal(found.extras["advantage"], wanted.extras["advantage"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt_order": "variance", "baseline": "group-mean"}, r"'group-mean' .*: use baseline='adaptive'"),
        ({"prompt_order": "importance", "baseline": "kernel"}, r"'kernel' .*: use baseline='variance-optimal'"),
        ({"prompt_order": "importance", "baseline": "adaptive", "beta": 0.1}, r"beta=0.1: set beta=0"),
    ],
)
def test_orders_that_cannot_be_drawn_are_refused(make_trainer, settings, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**settings)

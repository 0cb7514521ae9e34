"""The plug-in of slime through the manager that turns samples into training data."""

from argparse import Namespace

import pytest

from llm_train.plugins import slime as plugin
from tests.frameworks.gpu_only import stand_in_for

stand_in_for("httpx", "sglang", "sglang_router")
rollout = pytest.importorskip("slime.ray.rollout", reason="slime comes from GitHub, see the Makefile")
from slime.utils.misc import load_function  # noqa: E402
from slime.utils.types import Sample  # noqa: E402


def test_siblings_of_a_compact_rollout_get_its_advantage():
    plugin._histories.clear()
    manager = object.__new__(rollout.RolloutManager.__ray_metadata__.modified_class)
    manager.args = Namespace(reward_key=None, kvar_baseline="leave-one-out", rollout_top_p=1.0)
    manager.custom_reward_post_process_func = load_function("llm_train.plugins.slime.post_process_rewards")
    manager.custom_convert_samples_to_train_data_func = None
    samples = [
        Sample(index=k, rollout_id=rollout_id, prompt="2+3=", tokens=[1, 2], response_length=1, reward=reward)
        for k, (rollout_id, reward) in enumerate([(0, 1.0), (0, 1.0), (0, 1.0), (1, 0.0)])
    ]
    data = manager._convert_samples_to_train_data(samples)
    assert data["rewards"] == [1.0, 1.0, 1.0, -1.0]
    assert data["raw_reward"] == [1.0, 1.0, 1.0, 0.0]
    assert data["rollout_ids"] == [0, 0, 0, 1]

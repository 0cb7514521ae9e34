"""The plug-ins through the registries and dispatch of verl and SkyRL themselves, which this project does not install.

Not part of the suite. In an environment that has both, besides the requirements of this project:

  python -m pytest tests/llm_train/real_frameworks.py
"""

import numpy as np
import pytest

from llm_train.plugins import skyrl as skyrl_plugin
from llm_train.plugins import verl as verl_plugin
from tests.llm_train.test_plugins import PROMPTS, RANDOM_UID, STEPS, column_of, expected, token_level


def test_through_the_real_verl():
    from verl import DataProto
    from verl.trainer.ppo import core_algos, ray_trainer

    verl_plugin.register("kvar-test")
    assert isinstance(core_algos.get_adv_estimator_fn("kvar-test"), verl_plugin.AdvantageEstimator)
    table, mask = token_level(STEPS[0])
    data = DataProto.from_dict(
        tensors={"token_level_rewards": table, "response_mask": mask},
        non_tensors={
            "uid": column_of([RANDOM_UID] * 6),
            "extra_info": column_of([{"index": p} for p in PROMPTS]),
        },
    )
    with pytest.raises(ValueError, match=f"got uid {RANDOM_UID}"):
        ray_trainer.compute_advantage(data, adv_estimator="kvar-test")
    verl_plugin.use_stable_keys()
    done = ray_trainer.compute_advantage(data, adv_estimator="kvar-test")
    np.testing.assert_allclose(done.batch["advantages"], expected()[0][:, None] * mask.numpy(), atol=1e-7)


def test_through_the_real_skyrl():
    from skyrl.backends.skyrl_train.utils import ppo_utils

    skyrl_plugin.register("kvar-test")
    table, mask = token_level(STEPS[0])
    index = np.array(list(map(str, PROMPTS)))
    advantages, _ = ppo_utils.compute_advantages_and_returns(table, mask, index, "kvar-test", None)
    np.testing.assert_allclose(advantages, expected()[0][:, None] * mask.numpy(), atol=1e-7)

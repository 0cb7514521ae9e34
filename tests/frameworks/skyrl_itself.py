"""The plug-in of SkyRL through SkyRL's own registry."""

import sys

import numpy as np
import pytest

from llm_train.plugins import skyrl
from tests.llm_train.test_plugins import PROMPTS, STEPS, expected, token_level

if sys.version_info < (3, 12):
    pytest.skip("SkyRL 0.3 cannot be imported before Python 3.12", allow_module_level=True)
from skyrl.backends.skyrl_train.utils import ppo_utils


def test_the_registry_hands_over_what_the_estimator_needs():
    skyrl.register("kvar-test")
    for rewards, wanted in zip(STEPS, expected(), strict=True):
        table, mask = token_level([*rewards, rewards[0]])
        index = np.array([*map(str, PROMPTS), "pad0"])
        advantages, _ = ppo_utils.compute_advantages_and_returns(table, mask, index, "kvar-test", None)
        np.testing.assert_allclose(advantages[:6], wanted[:, None] * mask[:6].numpy(), atol=1e-7)
        assert not advantages[6].any()

"""Kills and several processes, in short; `make nightly` runs the long versions."""

import re

import numpy as np

from tests.llm_train import kill_and_resume, two_processes
from tests.soak import processes


def test_a_killed_and_resumed_run_equals_one_that_was_not(tmp_path):
    # The order by importance draws from the history, and its drawn prompts and weights are part of the checkpoint.
    importance = {"prompt_order": "importance", "baseline": "variance-optimal"}
    kill_and_resume.check(tmp_path, kills=1, seed=0, further=importance)


def test_two_processes_give_what_one_gives(tmp_path):
    two_processes.compare(tmp_path, ["adaptive", "attached adaptive"])


def test_four_processes_hold_one_history(tmp_path):
    outcomes, states = processes.run(tmp_path, "adaptive", n_steps=30)
    assert outcomes == ["the histories are the same"] * 4
    assert len(states[0]["state"]["history"]["prompt_ids"]) == processes.PROMPTS
    for state in states[1:]:
        np.testing.assert_equal(state, states[0])
    for rank in range(4):
        refused = (tmp_path / f"refused-{rank}").read_text()
        assert re.search(r"process 0 .*checkpoint with checksum \w+, but process 3 .*: .*resume", refused)


def test_a_history_that_differs_is_refused(tmp_path):
    outcomes, _ = processes.run(tmp_path, "kernel", n_steps=30, forget=True)
    assert len(set(outcomes)) == 1
    assert re.match(
        r"the histories of processes 0 and 2 differ: at step 1[67] a rollout of prompt ('prompt )?\d+", outcomes[0]
    )

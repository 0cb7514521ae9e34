"""The same prompts and rewards in one process and in two (gloo, on the CPU) give the same advantages and history.

  python -m tests.llm_train.two_processes

Every process samples its own completions. Rewards are therefore a function of the row in the batch. Where score norms
enter, which come from the completions, both processes have the same history.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from trl import GRPOConfig, GRPOTrainer

from kvar import read_trace
from llm_train import KAEConfig, KAETrainer, attach
from llm_train.policy.tiny import make_policy, make_tokenizer, sums
from llm_train.run.train import quiet_libraries
from llm_train.trainer.state_file import load_state, save_state
from tests.llm_train.conftest import ON_CPU

ROWS, STEPS = 16, 4
ATTACHED = "attached "  # before a baseline that is put on a trainer of TRL


def train(folder: Path, baseline: str, rank: int, world: int) -> None:
    tokenizer = make_tokenizer()
    step, own = 0, ROWS // world

    def reward(prompts, **_):
        nonlocal step
        step += 1
        numbers = np.random.default_rng(step).random(ROWS).round(3).tolist()
        numbers[4::5] = [None] * 3  # these could not be scored
        return numbers[rank * own : (rank + 1) * own]

    common = {
        "output_dir": str(folder), "num_generations": 2, "max_steps": STEPS, "per_device_train_batch_size": own,
        "max_completion_length": 3, "save_strategy": "no", "learning_rate": 1e-9, **ON_CPU,
    }  # fmt: skip
    given = {"model": make_policy(tokenizer, seed=0), "reward_funcs": reward, "train_dataset": sums(20, 9, seed=0)}
    given["processing_class"] = tokenizer
    if baseline.startswith(ATTACHED):
        trainer = GRPOTrainer(args=GRPOConfig(scale_rewards="none", **common), **given)
        found = attach(trainer, baseline.removeprefix(ATTACHED), trace_dir=folder / "trace").baseline
    else:
        further = {"block_reuse": 2, "warm_start_rollouts": 2, "trace_dir": str(folder / "trace")}
        trainer = KAETrainer(args=KAEConfig(baseline=baseline, **further, **common), **given)
        found = trainer.baseline
    assert trainer.accelerator.num_processes == world
    trainer.train()
    save_state(found.state_dict(), folder / f"state-{rank}")


def train_in_two(folder: Path, baselines: list[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    children = []
    for rank in (0, 1):
        settings = {name: str(value) for name, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
        command = [sys.executable, "-m", "tests.llm_train.two_processes", f"--rank={rank}", f"--folder={folder}"]
        children.append(subprocess.Popen([*command, "--baselines", *baselines], env={**os.environ, **settings}))
    if any([child.wait(timeout=300) for child in children]):  # noqa: C419  (wait for all)
        raise SystemExit("training in two processes failed")


def compare(folder: Path, baselines: list[str]) -> None:
    for baseline in baselines:
        train(folder / baseline / "one", baseline, 0, 1)
    train_in_two(folder, baselines)
    for baseline in baselines:
        one, two = folder / baseline / "one", folder / baseline / "two"
        expected, found = read_trace(one / "trace"), read_trace(two / "trace")
        assert len(found) == STEPS * ROWS
        assert found.prompt_id.tolist() == expected.prompt_id.tolist()
        np.testing.assert_array_equal(found.reward, expected.reward)
        states = [load_state(two / f"state-{rank}") for rank in (0, 1)]
        np.testing.assert_equal(*states)
        assert found.extras["advantage"].any()
        if "score_norm" in found.extras:  # of the completions, which one process samples otherwise than two
            assert len(np.unique(found.extras["score_norm"])) > ROWS
            continue
        # The critic reads hidden states, whose rounding depends on the shape of the batch.
        tolerance = 1e-5 if baseline == "critic" else 0.0
        np.testing.assert_allclose(found.extras["advantage"], expected.extras["advantage"], atol=tolerance)
        if baseline != "critic":
            np.testing.assert_equal(states[0], load_state(one / "state-0"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baselines", nargs="+", default=["adaptive", "critic", "variance-optimal"])
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    if options.rank is not None:
        for baseline in options.baselines:
            train(options.folder / baseline / "two", baseline, options.rank, 2)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), options.baselines)
    print(f"Two processes give what one gives: {', '.join(options.baselines)}")


if __name__ == "__main__":
    main()

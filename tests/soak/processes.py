"""Whether histories stay equal in several processes: ``python -m tests.soak.processes --steps 1000``.

Every process samples its own rollouts. The last batch of each epoch is short and uneven, and the last process has none
of it. Halfway, one process loses its baseline and continues from a checkpoint that another has written. In the end all
states must be equal to the last bit. With ``--forget`` one process misses an update instead, and the next advantages
that differ must be refused.
"""

import argparse
import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import numpy as np

import kvar
from tests.kvar.registered import columns_of

PROMPTS, EPOCH = 40, 7


def rollouts_of(rank, world, step):
    """The prompts that one process sampled at a step, with a group of rewards for each."""
    last = step % EPOCH == EPOCH - 1
    rng = np.random.default_rng([rank, step])
    n_rows = world - 1 - rank if last else 5
    ids = [int(i) if i % 2 else f"prompt {i}" for i in rng.integers(PROMPTS, size=n_rows)]
    return [(i, row) for i, row in zip(ids, rng.integers(0, 2, size=(n_rows, 2)).tolist(), strict=True)]


def work(rank, world, port, folder, name, n_steps, forget):
    """One process of the run, which leaves its last state in a file."""
    shared = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    os.environ |= {key: str(value) for key, value in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()}
    import torch
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    from llm_train.trainer.rank_consistency import require_same_advantages, require_same_file
    from llm_train.trainer.state_file import load_state, save_state

    torch.set_num_threads(1)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == world
    assert torch.distributed.get_backend() == "gloo"
    checkpoint = Path(folder, "checkpoint")
    baseline = kvar.make_baseline(name)
    outcome = "the histories are the same"
    try:
        for step in range(n_steps):
            together = gather_object(rollouts_of(rank, world, step))
            ids, rewards = [i for i, _ in together], np.array([row for _, row in together], dtype=np.float32)
            columns = columns_of(rewards.shape)
            advantages = baseline.estimate(ids, rewards, step, **columns) - rewards
            keys = [i for i in ids for _ in range(rewards.shape[1])]
            require_same_advantages(accelerator, keys, torch.from_numpy(advantages.ravel()), step)
            if not (forget and rank == 2 and step == n_steps // 2):
                baseline.update(ids, rewards, step, **columns)
            if step == n_steps // 2 and not forget:
                if rank == 0:
                    save_state(baseline.state_dict(), checkpoint)
                accelerator.wait_for_everyone()
                require_same_file(checkpoint)
                if rank == 1:
                    baseline = kvar.make_baseline(name)
                    baseline.load_state_dict(load_state(checkpoint))
    except RuntimeError as error:
        outcome = str(error)
    try:
        require_same_file(None if rank == 3 else checkpoint)
    except ValueError as error:
        Path(folder, f"refused-{rank}").write_text(str(error))
    save_state({"outcome": outcome, "state": baseline.state_dict()}, Path(folder, f"state-{rank}"))
    accelerator.end_training()


def run(folder, name, n_steps, n_processes=4, forget=False):
    """Run all processes; return the outcome and the state of each."""
    from llm_train.trainer.state_file import load_state

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # All processes are forked from one that has loaded the libraries.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["accelerate", "torch", "kvar", "llm_train.trainer.state_file", __name__])
    arguments = [(rank, n_processes, port, str(folder), name, n_steps, forget) for rank in range(n_processes)]
    processes = [context.Process(target=work, args=argument) for argument in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * n_processes
    found = [load_state(Path(folder, f"state-{rank}")) for rank in range(n_processes)]
    return [one["outcome"] for one in found], [one["state"] for one in found]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument(
        "--baselines", nargs="+", default=["adaptive", "kernel", "kalman"], choices=kvar.baseline_names()
    )
    parser.add_argument("--forget", action="store_true", help="let process 2 miss an update")
    options = parser.parse_args()
    for name in options.baselines:
        with tempfile.TemporaryDirectory() as folder:
            outcomes, states = run(folder, name, options.steps, options.processes, options.forget)
        for state in states if not options.forget else ():
            np.testing.assert_equal(state, states[0])
        print(f"{name}: {options.steps:,} steps in {options.processes} processes: {outcomes[0]}")


if __name__ == "__main__":
    main()

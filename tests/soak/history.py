"""Whether a long run grows or slows down: ``python -m tests.soak.history --steps 100000``.

Every step draws its prompts at random, so that nearly all of them have left the window when they return. In this case a
history that never discards a prompt would take the most memory.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import kvar

MIB = 2**20
PAGE = 4096


def resident():
    """Memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--baseline", default="kernel", choices=kvar.baseline_names())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    truth = rng.random(options.prompts)
    baseline = kvar.make_baseline(options.baseline)
    tenth = options.steps // 10
    seconds, memory = [], []
    print(f"{options.baseline}: {options.steps:,} steps of {options.batch} out of {options.prompts:,} prompts")
    print("tenth  CPU time per step  memory")
    for k in range(10):
        spent = 0.0
        for step in range(k * tenth, (k + 1) * tenth):
            ids = rng.integers(options.prompts, size=options.batch)
            rewards = (rng.random((options.batch, options.group)) < truth[ids, None]).astype(float)
            start = time.process_time()
            baseline.advantages(ids, rewards, step)
            spent += time.process_time() - start
        seconds.append(spent / tenth)
        memory.append(resident())
        print(f"{k + 1:5}  {1e6 * seconds[-1]:14.1f} us  {memory[-1] / MIB:6.1f} MiB", flush=True)
    slower, larger = seconds[9] / seconds[1] - 1, memory[9] - memory[1]
    print(f"last tenth against second: {100 * slower:+.1f} % time per step, {larger / MIB:+.2f} MiB")
    # The allocator alone changes the memory by a few pages.
    return int(slower > 0.1 or larger > MIB)


if __name__ == "__main__":
    raise SystemExit(main())

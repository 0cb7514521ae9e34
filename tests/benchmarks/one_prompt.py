"""One prompt, 10,000 steps, 1,000 repetitions, five baselines: repetitions as prompts of a batch, or one at a time.

One core, NumPy. Only a few repetitions are timed one at a time; the ratio is per repetition.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import kvar
from simulations.bandit.one_prompt import course
from simulations.bandit.rewards import BinaryRewards
from simulations.bandit.value_paths import Zigzag

BASELINES = ("none", "group-mean", "leave-one-out", "discounted-beta", "kernel")
GROUP = 2


def together(steps: int, repetitions: int) -> float:
    made = {name: (name, {}) for name in BASELINES}
    start = time.perf_counter()
    course(Zigzag(), BinaryRewards(), steps, GROUP, made, repetitions, np.random.default_rng(0))
    return time.perf_counter() - start


def one_at_a_time(steps: int, repetitions: int) -> float:
    rng, path, law = np.random.default_rng(0), Zigzag(), BinaryRewards()
    start = time.perf_counter()
    for _ in range(repetitions):
        made = [kvar.make_baseline(name) for name in BASELINES]
        for step in range(1, steps + 1):
            rewards = law.sample(np.full((1, GROUP), float(path(step / steps))), rng)
            for baseline in made:
                baseline.advantages([0], rewards, step)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--repetitions", type=int, default=1000)
    options = parser.parse_args()
    whole = together(options.steps, options.repetitions)
    few = 2
    single = one_at_a_time(options.steps, few) / few
    print(f"together {whole:.1f} s, one at a time {single * options.repetitions:.0f} s")
    print(f"a repetition: {single / (whole / options.repetitions):.0f} times faster together")


if __name__ == "__main__":
    main()

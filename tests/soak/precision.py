"""Whether rounding builds up in a long run: ``python -m tests.soak.precision --updates 10000000``.

One prompt has one reward per step. In the end the value of each baseline is compared with its formula, evaluated from
scratch over all rewards with exact sums.
"""

import argparse
import math
import time

import numpy as np

import kvar

TOLERANCE = 1e-9
GROUP = np.array([[0.25, 1.0]])


def kernel(rewards):
    """Triangular weights over the last ten steps, and the other of the group."""
    past = [((10 - lag) / 10, reward) for lag, reward in zip(range(1, 10), rewards[::-1], strict=False)]
    mass = math.fsum(w for w, _ in past) + 1.0
    return [(math.fsum(w * r for w, r in past) + other) / mass for other in GROUP[0, ::-1]]


def running_mean(rewards):
    """Mean of all rewards."""
    return [math.fsum(rewards) / len(rewards)] * 2


def buffer(rewards):
    """Mean of the last 16 rewards, the group's included."""
    return [math.fsum([*rewards[-14:], *GROUP[0]]) / 16] * 2


def discounted_beta(rewards):
    """Counts halved at each visit, from one success and one failure on; visits 200 steps back weigh nothing."""
    prior = 0.5 ** min(len(rewards) + 1, 200)
    alpha = prior + math.fsum(0.5**lag * r for lag, r in enumerate(rewards[:-200:-1], start=1))
    mass = 2 * prior + math.fsum(0.5**lag for lag in range(1, len(rewards[-199:]) + 1))
    return [(alpha + math.fsum(GROUP[0])) / (mass + 2)] * 2


def empirical_bayes(rewards):
    """Mean of the group, shrunk to the mean of all rewards by the two variances."""

    def moments(numbers):
        mean = math.fsum(numbers) / len(numbers)
        return mean, math.fsum((numbers - mean) ** 2) / len(numbers)

    level, noise = moments(np.append(rewards, GROUP))
    _, spread = moments(np.append(rewards, GROUP.mean()))
    shrinkage = noise / 2 / (noise / 2 + spread)
    return [(1 - shrinkage) * GROUP.mean() + shrinkage * level] * 2


FORMULAS = {
    "kernel": kernel,
    "running-mean": running_mean,
    "buffer": buffer,
    "discounted-beta": discounted_beta,
    "empirical-bayes": empirical_bayes,
}


def error_after(name, n_updates, seed=0):
    """Largest difference between a baseline after its updates and its formula from scratch."""
    rewards = np.random.default_rng(seed).random(n_updates)
    baseline = kvar.make_baseline(name)
    for step, reward in enumerate(rewards):
        baseline.update([7], [reward], step)
    return np.abs(baseline.estimate([7], GROUP, n_updates) - FORMULAS[name](rewards)).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=10_000_000)
    parser.add_argument("--baselines", nargs="+", default=list(FORMULAS), choices=list(FORMULAS))
    options = parser.parse_args()
    worst = 0.0
    for name in options.baselines:
        start = time.process_time()
        error = error_after(name, options.updates)
        seconds = time.process_time() - start
        print(f"{name:16} {options.updates:,} updates: off by {error:.1e} ({seconds:.0f} s of CPU)", flush=True)
        worst = max(worst, error)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())

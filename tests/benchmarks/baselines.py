"""Cost of each baseline: time per step, replayed rollouts per second, memory of a million prompts.

One core, NumPy. A step is estimate and update of 1,024 prompts with 8 rollouts each and 64 visits of history; times are
medians, and ratios are to `group-mean` in the same run.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import tracemalloc

import numpy as np

import kvar

N_PROMPTS, GROUP, VISITS = 1024, 8, 64


def binary(rng, *shape):
    return (rng.random(shape) < 0.5).astype(float)


def columns(rng):
    return {
        "true_value": rng.random(N_PROMPTS),
        "offline_value": rng.random(N_PROMPTS),
        "completion_length": rng.integers(1, 100, (N_PROMPTS, GROUP)).astype(float),
    }


def step_time(name: str, parameters: dict, repeats: int) -> float:
    rng, ids = np.random.default_rng(0), np.arange(N_PROMPTS)
    baseline = kvar.make_baseline(name, **parameters)
    for step in range(VISITS):
        baseline.update(ids, binary(rng, N_PROMPTS, GROUP), step)
    times = []
    for step in range(VISITS, VISITS + repeats):
        rewards, more = binary(rng, N_PROMPTS, GROUP), columns(rng)
        start = time.perf_counter()
        baseline.estimate(ids, rewards, step, **more)
        baseline.update(ids, rewards, step)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def replay_speed(name: str) -> float:
    """Replayed rollouts per second, over a trace of a million rollouts."""
    rng, steps = np.random.default_rng(0), 122
    step, prompt, _ = (a.ravel() for a in np.indices((steps, N_PROMPTS, GROUP)))
    trace = kvar.Trace.from_columns({"step": step, "prompt_id": prompt, "reward": binary(rng, step.size)})
    start = time.perf_counter()
    kvar.replay(trace, name)
    return len(trace) / (time.perf_counter() - start)


def memory(name: str, steps: int) -> tuple[float, float]:
    """Megabytes after a million prompts: in total, and beyond 24 bytes for each visit inside the window."""
    rng, n = np.random.default_rng(0), 1_000_000
    tracemalloc.start()
    baseline = kvar.make_baseline(name)
    size = n // steps
    for step in range(steps):
        baseline.update(range(step * size, (step + 1) * size), binary(rng, size, 1), step)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    history = baseline.state_dict()["state"].get("history")
    visits = int((history["counts"] > 0).sum()) if history else 0
    return held / 2**20, (held - 24 * visits) / 2**20


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    candidates = [(name, {}) for name in kvar.baseline_names()] + [("kernel", {"bandwidth": 64})]
    times = {f"{name} {p or ''}".strip(): step_time(name, p, options.repeats) for name, p in candidates}
    print(f"estimate and update, {N_PROMPTS} prompts x {GROUP} rollouts, {VISITS} visits")
    for label, seconds in times.items():
        print(f"  {label:28s} {1e3 * seconds:8.2f} ms {seconds / times['group-mean']:8.1f} x group-mean")
    print("replay of a million rollouts")
    for name in ("group-mean", "kernel", "adaptive"):
        print(f"  {name:28s} {replay_speed(name):12,.0f} rollouts a second", flush=True)
    print("memory of a million prompts, each seen once in 1,000 steps")
    for name in ("kernel", "adaptive"):
        total, beyond = memory(name, 1000)
        print(f"  {name:28s} {total:8.1f} MB, {beyond:8.1f} MB beyond the visits inside the window", flush=True)
    print(f"peak of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()

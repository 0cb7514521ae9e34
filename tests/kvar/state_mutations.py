"""States of baselines damaged at random: ``python -m tests.kvar.state_mutations``.

Each damaged state must be refused with a sentence and change nothing, or be one with which the baseline works: its
values and advantages are finite and its own state loads.
"""

from __future__ import annotations

import argparse
import copy
import time

import numpy as np

import kvar
from tests.kvar.registered import SETTINGS, columns_of, experienced, features_of

EXTREMES = [np.nan, np.inf, -np.inf, -1, 0, 0.5, 7, 1e-320, 2.0**50, 2.0**60, 1e30, 1e99, 1e100, 1e150, 1e308, -1e308]
WRONG = [None, "x", b"x", True, 10**400, [], {}, [[1.0], [2.0, 3.0]], {"a": 1}, ["a", "a"], [1, True], [None]]
WRONG += [np.zeros(0), np.zeros((2, 2)), np.array(["x"]), np.array([None]), np.array(np.nan), np.array([1j])]
WAYS = ["extreme", "extreme", "wrong", "drop", "more", "shape", "type", "shuffle", "byte"]


def leaves(value, path=()):
    """Paths of every place in nested dictionaries and lists, containers included."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from leaves(entry, (*path, key))


def damaged(rng, value):
    """Something else in place of a value."""
    way = WAYS[rng.integers(len(WAYS))]
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.size and value.ndim
    array = value if numbers else None
    if way == "wrong":
        return copy.deepcopy(WRONG[rng.integers(len(WRONG))])
    if way == "drop" and isinstance(value, dict | list) and value:
        value = copy.copy(value)
        value.pop(sorted(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value))))
        return value
    if way == "more" and isinstance(value, dict | list):
        return {**value, "more": 1} if isinstance(value, dict) else [*value, *value[:1], "more"]
    if array is None:
        return EXTREMES[rng.integers(len(EXTREMES))]
    if way == "shape":
        shapes = [array[..., None], array[:-1], array.ravel(), array[None], np.concatenate([array, array])]
        return shapes[rng.integers(len(shapes))]
    if way == "type":
        with np.errstate(over="ignore"):
            return array.astype([str, object, np.float16, bool][rng.integers(4)])
    if way == "shuffle":
        return rng.permuted(array)
    if way == "byte":
        content = bytearray(array.tobytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        return np.frombuffer(bytes(content), dtype=array.dtype).reshape(array.shape).copy()
    array = array.astype(np.float64)
    for k in rng.integers(array.size, size=rng.integers(1, 4)):
        array.flat[k] = EXTREMES[rng.integers(len(EXTREMES))]
    return array


def trial(seed: int) -> str:
    """Damage one state in one to three places and load it; "refused" or "loaded"."""
    rng = np.random.default_rng(seed)
    name, parameters = SETTINGS[rng.integers(len(SETTINGS))]
    state = copy.deepcopy(experienced(name, parameters, n_steps=int(rng.integers(6))).state_dict())
    for _ in range(rng.integers(1, 4)):
        paths = list(leaves(state))
        path = paths[rng.integers(1, len(paths))]
        place = state
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = damaged(rng, place[path[-1]])
    baseline = experienced(name, parameters, n_steps=2)
    before = baseline.state_dict()
    try:
        baseline.load_state_dict(state)
        reason = None
    except ValueError as refusal:
        reason = str(refusal)
    if reason is not None:
        assert len(reason.split()) > 3, reason
        np.testing.assert_equal(baseline.state_dict(), before)
    ids, rewards = ["a", 0, "new"], np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for step in (1e100, 1e100):
        more = {**columns_of(rewards.shape), **features_of(ids)}
        assert np.isfinite(baseline.estimate(ids, rewards, step, **more)).all(), "its values are not finite"
        assert np.isfinite(baseline.advantages(ids, rewards, step, **more)).all(), "its advantages are not finite"
    kvar.make_baseline(name, **parameters).load_state_dict(baseline.state_dict())
    return "loaded" if reason is None else "refused"


def main() -> None:
    """Run many trials and count what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes: dict[str, int] = {}
    start = time.process_time()
    for seed in range(options.seed, options.seed + options.number):
        try:
            outcome = trial(seed)
        except BaseException:
            print(f"seed {seed} failed", flush=True)
            raise
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    seconds = time.process_time() - start
    print(f"{options.number} damaged states: {outcomes}; {seconds:.0f} s of processor time")


if __name__ == "__main__":
    main()

"""Baselines to try a law on: every registered one as it comes, and settings that make others of them."""

import numpy as np

import kvar
from kvar.baselines import baseline_class

# Settings under which a baseline keeps or does something that it does not by default.
VARIANTS = [
    ("kernel", {"bandwidth": "auto"}),
    ("kernel", {"bandwidth": 4, "degree": 1}),
    ("kernel", {"clock": "visits", "kernel": "exponential", "bandwidth": 2}),
    ("kernel", {"drift": True}),
    ("buffer", {"size": 3, "min_count": 2}),
    ("discounted-beta", {"forgetting": "step", "discount": 0.9}),
    ("discounted-beta", {"forgetting": "drift", "include_own": False, "prior": 0.5}),
    ("adaptive", {"drift": False, "shrinkage": False}),
    ("adaptive", {"history": False}),
]
# Those that other packages register have laws of their own.
NAMES = [name for name in kvar.baseline_names() if baseline_class(name).__module__.startswith("kvar.")]
SETTINGS = [(name, {}) for name in NAMES] + VARIANTS


def columns_of(shape):
    """Columns that every baseline can work with."""
    return {
        "true_value": np.full(shape, 0.5),
        "offline_value": np.full(shape, 0.4),
        "completion_length": np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape),
        "drift": np.full(shape, 0.01),
        "score_norm": 1.0 + np.arange(np.prod(shape)).reshape(shape) % 3,
    }


def features_of(ids):
    """Two features a prompt."""
    names = [str(i) for i in ids]
    return {"feature_0": [float(len(n)) for n in names], "feature_1": [float(sum(map(ord, n)) % 7) for n in names]}


def experienced(name, parameters, n_steps=5):
    """A baseline with a past of numbered and of named prompts."""
    baseline = kvar.make_baseline(name, **parameters)
    rng = np.random.default_rng(3)
    pool = [0, 1, -5, 2**63, "0", "a", "ü😀"]
    for step in range(n_steps):
        ids = [pool[k] for k in rng.permutation(len(pool))[:4]]
        rewards = rng.integers(0, 2, size=(4, 3)).astype(float)
        baseline.update(ids, rewards, step, **columns_of(rewards.shape), **features_of(ids))
    return baseline


def bounded(name):
    """Whether a baseline takes rewards from 0 to 1 only."""
    return baseline_class(name).reward_range == (0.0, 1.0)

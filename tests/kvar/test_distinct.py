"""Equal rollouts of a prompt are worked on once, as if each were worked on."""

import numpy as np
import pytest

import kvar
from kvar.rollouts import distinct
from kvar.rollouts.distinct import Distinct


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_kinds_against_a_loop(rng, monkeypatch, missing):
    monkeypatch.setattr(distinct, "_FEW", 0)
    ids, rewards = rng.integers(0, 9, 120), rng.integers(0, 3, 120) / 4
    rewards[rng.random(120) < missing] = np.nan
    batch = kvar.Batch.from_rows(ids, rewards, 0)
    found = Distinct.of(batch)
    prompts = np.repeat(batch.prompt_ids, batch.sizes)
    pairs = [(prompt, str(reward)) for prompt, reward in zip(prompts, batch.rewards, strict=True)]
    assert [pairs[k] for k in found.first] == sorted(set(pairs), key=lambda p: (batch.prompt_ids.index(p[0]), p[1]))
    assert [pairs[found.first[k]] for k in found.kind] == pairs
    assert found.sums(np.ones(120)).tolist() == [pairs.count(pairs[k]) for k in found.first]


@pytest.mark.parametrize("levels", [2, 1000])
@pytest.mark.parametrize("name", ["adaptive", "variance-optimal"])
def test_a_baseline_is_the_same_with_all_rollouts(rng, monkeypatch, name, levels):
    once, each = kvar.make_baseline(name), kvar.make_baseline(name)
    for step in range(8):
        ids = rng.integers(0, 12, 60)
        rewards = rng.integers(0, levels, (60, 2)) / levels
        rewards[rng.random(rewards.shape) < 0.1] = np.nan
        norms = rng.uniform(0.5, 2.0, rewards.shape)
        found = []
        for baseline, few in ((once, 0), (each, 1000)):
            monkeypatch.setattr(distinct, "_FEW", few)
            assert (type(Distinct.of(kvar.Batch.from_rows(ids, rewards, step)).kind) is slice) == (
                few > 0 or levels > 2
            )
            found.append(baseline.advantages(ids, rewards, step, score_norm=norms, return_info=True))
        for one, other in zip(*((advantages, *vars(info).values()) for advantages, info in found), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)

"""Recorded runs of known values in each of which one thing is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import kvar

__all__ = ["FAULTS", "faulty_run"]


@dataclass
class _Run:
    """What a run is drawn from: values by step and prompt, ids by step, group size, and what is done afterwards."""

    values: np.ndarray
    ids: np.ndarray
    group: int
    norms: bool = True
    norm_ratio: float = 1.0
    filtered: bool = False
    bonus: bool = False

    def drawn(self, rng: np.random.Generator) -> kvar.Trace:
        """Draw the rewards."""
        step = np.repeat(np.arange(len(self.ids)), self.ids.shape[1] * self.group)
        ids = np.repeat(self.ids.ravel(), self.group)
        value = self.values[step, ids]
        reward = (rng.random(len(value)) < value).astype(np.float64)
        norm = np.where(reward > 0, np.sqrt(self.norm_ratio), 1.0) * rng.uniform(0.5, 1.5, len(value))
        kept = np.ones(len(value), dtype=bool)
        if self.filtered:
            groups = reward.reshape(-1, self.group)
            kept = np.repeat(groups.min(axis=1) < groups.max(axis=1), self.group)
        if self.bonus:
            reward[(step >= len(self.ids) // 2) & (rng.random(len(value)) < 0.1)] = 3.0
        columns = {"step": step, "prompt_id": ids, "reward": reward, "true_value": value}
        if self.norms:
            columns["score_norm"] = norm
        columns = {key: column[kept] for key, column in columns.items()}
        return kvar.Trace.from_columns(columns)


def faulty_run(fault: str, prompts: int, steps: int, batch: int, rng: np.random.Generator) -> kvar.Trace:
    """Draw a run: constant values from 0.2 to 0.8, epochs in random order, groups of four binary rewards, one fault."""
    values = np.tile(rng.uniform(0.2, 0.8, prompts), (steps, 1))
    order = np.concatenate([rng.permutation(prompts) for _ in range(-(-steps * batch // prompts))])
    ids = order[: steps * batch].reshape(steps, batch)
    return FAULTS[fault](_Run(values, ids, 4), rng).drawn(rng)


def _nothing(run: _Run, rng) -> _Run:
    return run


def _some(run: _Run, rng, fraction: float) -> np.ndarray:
    n = run.values.shape[1]
    return rng.permutation(n)[: int(fraction * n)]


def _hopeless(run: _Run, rng) -> _Run:
    run.values[:, _some(run, rng, 0.4)] = 0.01
    return run


def _easy(run: _Run, rng) -> _Run:
    run.values[:, _some(run, rng, 0.4)] = 0.99
    return run


def _moving(run: _Run, rng, start: float, end: float) -> _Run:
    run.values[:, _some(run, rng, 0.3)] = np.linspace(start, end, len(run.values))[:, None]
    return run


def _jumping(run: _Run, rng) -> _Run:
    half = len(run.values) // 2
    run.values *= 0.7
    run.values[half:] += 0.4
    return run


def _harder(run: _Run, rng) -> _Run:
    level = run.values[0]
    for step, ids in enumerate(run.ids):
        odds = np.exp(4 * (0.5 - step / len(run.ids)) * (level - 0.5) / 0.3)
        ids[:] = rng.choice(len(level), len(ids), replace=False, p=odds / odds.sum())
    return run


def _waves(run: _Run, rng) -> _Run:
    phase = rng.uniform(0, 2 * np.pi, run.values.shape[1])
    run.values[:] = 0.5 + 0.4 * np.sin(np.arange(len(run.values))[:, None] / 8 + phase)
    return run


def _once(run: _Run, rng) -> _Run:
    run.ids = np.arange(run.ids.size).reshape(run.ids.shape)
    run.values = np.tile(rng.uniform(0.2, 0.8, run.ids.size), (len(run.ids), 1))
    return run


def _clear_once(run: _Run, rng) -> _Run:
    run = _once(run, rng)
    run.values[:] = rng.choice([0.03, 0.97], run.ids.size)
    run.group = 8
    return run


def _own_reward(run: _Run, rng) -> _Run:
    # Prompts tell nothing of each other, and of four rewards the own one is a quarter of what is known.
    run = _clear_once(run, rng)
    run.group, run.norms = 4, False
    return run


def _with(**changes):
    def changed(run: _Run, rng) -> _Run:
        for name, value in changes.items():
            setattr(run, name, value)
        return run

    return changed


# What is wrong with each run.
FAULTS: dict[str, Callable] = {
    "nothing": _nothing,
    "stuck prompts": _hopeless,
    "solved prompts": _easy,
    "improving prompts": lambda run, rng: _moving(run, rng, 0.2, 0.8),
    "forgotten prompts": lambda run, rng: _moving(run, rng, 0.8, 0.2),
    "jump": _jumping,
    "bonus rewards": _with(bonus=True),
    "harder and harder": _harder,
    "waves": _waves,
    "prompts once": _once,
    "clear prompts once": _clear_once,
    "clear small groups once": _own_reward,
    "groups of 32": _with(group=32),
    "score norms": _with(norm_ratio=0.2),
    "filtered": _with(filtered=True),
    "copied rows": _nothing,  # the copies come when the log is written
}

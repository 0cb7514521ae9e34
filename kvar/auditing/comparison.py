"""Run against run: the same prompts, matched by id, over the steps that all runs have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kvar.auditing.prompt_steps import PromptSteps
from kvar.auditing.run_effects import RunEffects
from kvar.intervals import Interval, adjusted_p_values

__all__ = ["Comparison", "Difference", "LearnedPrompts", "compare_runs"]

QUANTITIES = ("mean reward", "final reward")
_FINAL_PART = 0.25
_CURVE_PARTS = 20
_LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """A setting against the first one."""

    quantity: str  # "mean reward" over the common steps, or "final reward" over their last quarter
    setting: str
    reference: str
    interval: Interval  # Difference on the same prompts; the rollouts are not counted
    n_runs: tuple[int, int]  # Runs of the setting and of the reference
    over_runs: bool  # Whether the limits allow for chance between runs; else they hold for these runs only
    p_value_adjusted: float  # By Holm's method, over all settings and both quantities; NaN without a test

    @property
    def different(self) -> bool | None:
        """Whether the difference is beyond chance at 5 %; None where one run a setting cannot say."""
        return self.p_value_adjusted < _LEVEL if self.over_runs else None


@dataclass(frozen=True)
class LearnedPrompts:
    """Prompts on which the final rewards of a setting differ from those of the first one, at most."""

    setting: str
    reference: str
    n_prompts: int  # Prompts with final rewards in both
    above: int  # above, below: Prompts that are told apart, at a false discovery rate of 5 % given these runs
    below: int
    # Prompts that differ most, those above first: id, final reward with the setting, and with the first one.
    examples: list[tuple[str, float, float]]


@dataclass(frozen=True)
class Comparison:
    """What several runs say of their settings."""

    settings: list[str]  # Different ones, in the order given
    setting_of: list[int]  # The setting of each run, by its place in `settings`
    steps: tuple[float, float]  # First and last step that all runs have
    levels: dict[str, list[float]]  # By quantity, the mean of each run, adjusted to the same prompts
    differences: list[Difference]
    learned: list[LearnedPrompts]
    places: np.ndarray = field(repr=False)  # shape (K,): Middle of each part of the common steps
    curves: np.ndarray = field(repr=False)  # shape (R, K): Mean reward of each run in each part
    # shape (settings, 2, K): 95 % limits of each setting's curve: over runs where there are several, else over prompts.
    bands: np.ndarray = field(repr=False)


def compare_runs(runs: Sequence[PromptSteps], settings: Sequence[str]) -> Comparison | str:
    """Compare settings with the first one, given the setting of each run; a sentence where they cannot be compared."""
    first, last = max(run.step.min() for run in runs), min(run.step.max() for run in runs)
    if first > last:
        return f"The runs have no steps in common: one starts at step {first:g}, another ends at {last:g}."
    runs = [run.between(first, last) for run in runs]
    names = list(dict.fromkeys(settings))
    setting = np.array([names.index(name) for name in settings])
    final = [run.between(last - _FINAL_PART * (last - first), last) for run in runs]
    prompts, sums = zip(*(_by_prompt(part) for part in (runs, final)), strict=True)
    means = np.concatenate([run.total / run.count for run in runs])
    span = float(means.max() - means.min())
    fits = [RunEffects.fit(np.divide(s[1], s[0], out=np.full(s[0].shape, np.nan), where=s[0] > 0)) for s in sums]
    if fits[0] is None:
        return "Prompts do not link all runs: some share none with the others, so there is nothing to match."
    kept = {name: fit for name, fit in zip(QUANTITIES, fits, strict=True) if fit is not None}
    places, curves, bands = _curves(runs, setting, first, last)
    return Comparison(
        settings=names,
        setting_of=setting.tolist(),
        steps=(float(first), float(last)),
        levels={name: (fit.level + fit.effects).tolist() for name, fit in kept.items()},
        differences=_differences(kept, names, setting),
        learned=[_learned(prompts[1], sums[1], span, setting, names, k) for k in range(1, len(names))],
        places=places,
        curves=curves,
        bands=bands,
    )


def _by_prompt(runs: Sequence[PromptSteps]) -> tuple[np.ndarray, np.ndarray]:
    """Prompt ids, shape (P,), and by run and prompt the count, total and square of rewards, shape (3, R, P)."""
    ids = [run.prompt for run in runs]
    if len({column.dtype.kind == "i" for column in ids}) > 1:
        ids = [column.astype(str) for column in ids]
    prompts, code = np.unique(np.concatenate(ids), return_inverse=True)
    codes = np.split(code, np.cumsum([len(column) for column in ids])[:-1])
    sums = [
        [np.bincount(code, getattr(run, name), len(prompts)) for run, code in zip(runs, codes, strict=True)]
        for name in ("count", "total", "square")
    ]
    return prompts, np.array(sums)


def _differences(fits: dict[str, RunEffects], names: list[str], setting: np.ndarray) -> list[Difference]:
    sizes = np.bincount(setting)
    over_runs = len(setting) > len(names)
    asked = [(quantity, k) for quantity in fits for k in range(1, len(names))]
    found = [fits[quantity].difference(setting, k, 0) for quantity, k in asked]
    adjusted = adjusted_p_values([one.p_value if over_runs else np.nan for one in found])
    return [
        Difference(quantity, names[k], names[0], one, (int(sizes[k]), int(sizes[0])), over_runs, float(p))
        for (quantity, k), one, p in zip(asked, found, adjusted, strict=True)
    ]


def _learned(
    prompts: np.ndarray, sums: np.ndarray, span: float, setting: np.ndarray, names: list[str], k: int
) -> LearnedPrompts:
    """Two-sample tests with the variance of both samples together and Yates's correction, by Benjamini and Hochberg."""
    # Slow to import, and needed only here.
    from scipy.special import ndtr

    mine, other = (sums[:, setting == one].sum(axis=1) for one in (k, 0))
    both = (mine[0] > 0) & (other[0] > 0)
    prompts, mine, other = prompts[both], mine[:, both], other[:, both]
    n, total, square = mine + other
    means = mine[1] / mine[0], other[1] / other[0]
    weight = 1 / mine[0] + 1 / other[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(square - total**2 / n, 0.0) / (n - 1)
        apart = np.maximum(np.abs(means[0] - means[1]) - 0.5 * span * weight, 0.0)
        p_values = np.nan_to_num(2 * ndtr(-apart / np.sqrt(variance * weight)), nan=1.0)
    told = adjusted_p_values(p_values, "fdr_bh") < _LEVEL
    rise = means[0] - means[1]
    shown = np.flatnonzero(told)[np.argsort(-rise[told], kind="stable")]
    shown = shown if len(shown) <= 10 else np.concatenate([shown[:5], shown[-5:]])
    examples = [(str(prompts[p]), float(means[0][p]), float(means[1][p])) for p in shown]
    above, below = int((told & (rise > 0)).sum()), int((told & (rise < 0)).sum())
    return LearnedPrompts(names[k], names[0], len(prompts), above, below, examples)


def _curves(runs: Sequence[PromptSteps], setting: np.ndarray, first: float, last: float):
    # Slow to import, and needed only here.
    from scipy.special import stdtrit

    steps = len(np.unique(np.concatenate([run.step for run in runs])))
    edges = np.linspace(first, last, min(_CURVE_PARTS, steps) + 1)
    found = np.array([_curve(run, edges) for run in runs])
    curves, bands = found[:, 0], []
    for k in range(setting.max() + 1):
        mine = found[setting == k]
        if len(mine) == 1:
            bands.append(mine[0, 1:])
        else:
            half = stdtrit(len(mine) - 1, 0.975) * mine[:, 0].std(axis=0, ddof=1) / np.sqrt(len(mine))
            bands.append(mine[:, 0].mean(axis=0) + np.array([[-1], [1]]) * half)
    return (edges[1:] + edges[:-1]) / 2, curves, np.array(bands)


def _curve(run: PromptSteps, edges: np.ndarray) -> np.ndarray:
    """Mean reward in each part of the steps and its 95 % limits over prompts, shape (3, K)."""
    n_parts = len(edges) - 1
    part = np.clip(np.searchsorted(edges, run.step, side="right") - 1, 0, n_parts - 1)
    prompts, code = np.unique(run.prompt, return_inverse=True)
    shape = (n_parts, len(prompts))
    count, total = (
        np.bincount(part * shape[1] + code, x, shape[0] * shape[1]).reshape(shape) for x in (run.count, run.total)
    )
    n, seen = count.sum(axis=1), (count > 0).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total.sum(axis=1) / n
        square = ((total - mean[:, None] * count) ** 2).sum(axis=1) * seen / (seen - 1)
        half = 1.96 * np.sqrt(square) / n
    return np.array([mean, mean - half, mean + half])

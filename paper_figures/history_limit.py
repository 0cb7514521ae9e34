"""How far the past of a prompt can carry: the recorded runs through a Bayes filter that is told what none can know.

The filter follows the log-odds of each prompt's value. Told by the truth it is the distribution of values at first
sight, or its regression on the features of prompts, the drift that all prompts share in each part of the run, and how
much single prompts move beside it; its multiplier of that last and its rate of jumps are the best in hindsight, run by
run. It gets every reward but a rollout's own, as a baseline does. An estimator has to learn what the filter is told; it
can do better only where values do not move as a random walk in log-odds. Rewards between 0 and 1 count as parts of a
success. Runs with one prompt are left out: there the value at first sight is all there is to know.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.progress import track
from scipy.special import expit, logit

from kvar import Trace, read_trace
from kvar.online.feature_prior import feature_columns
from kvar.replaying import batches
from kvar.rollouts.batch import Batch
from kvar.utils.atomic_files import atomic_write
from paper_figures.recorded_runs_data import OUT as COMPARED
from paper_figures.recorded_runs_table import RIVALS, geometric_mean, summary
from paper_figures.recorded_traces import asked_for
from simulations.harness.keyed_results import digest

OUT = Path("docs/history_limit.md")

_LOGITS = np.linspace(-9.0, 9.0, 121)
_SPACING = float(_LOGITS[1] - _LOGITS[0])
_PARTS = 15
_SMOOTH = 0.5  # of the prior, in logits
_MEDIAN = 0.455  # of a chi-square variable
_MULTIPLIERS = (0.3, 1.0, 3.0, 10.0, 30.0)
_JUMPS = (0.0, 0.02)


@dataclass(frozen=True)
class Told:
    """What the truth says of a run.

    Attributes
    ----------
    priors : dict of int or str to ndarray of shape (K,)
        Distribution of each prompt's log-odds at first sight, on the grid.
    edges : ndarray, shape (15,)
        Where the parts of the run begin, in steps.
    drift : ndarray, shape (15,)
        Mean change of the log-odds a step, by part.
    variance : float
        Of the change of one prompt beside the drift, a step.
    """

    priors: dict[int | str, np.ndarray]
    edges: np.ndarray
    drift: np.ndarray
    variance: float

    @classmethod
    def by(cls, trace: Trace, features: Sequence[str] = ()) -> Told:
        """Ask the true values of a run."""
        seen, first, known, moves = {}, {}, [], []
        for _, batch in batches(trace, ["true_value", *features]):
            log_odds = np.clip(logit(batch.columns["true_value"][:, 0]), _LOGITS[0], _LOGITS[-1]).tolist()
            for row, (prompt, now) in enumerate(zip(batch.prompt_ids, log_odds, strict=True)):
                if prompt in seen:
                    moves.append((*seen[prompt], batch.step, now))
                else:
                    first[prompt] = now
                    known.append([batch.columns[name][row, 0] for name in features])
                seen[prompt] = (batch.step, now)
        start, before, end, after = np.array(moves).reshape(-1, 4).T
        edges = np.linspace(trace.step.min(), trace.step.max() + 1, _PARTS + 1)[:-1]
        part = np.searchsorted(edges, end, side="right") - 1
        steps, change = end - start, after - before
        drift = np.bincount(part, change, _PARTS) / np.maximum(np.bincount(part, steps, _PARTS), 1)
        beside = (change - drift[part] * steps) ** 2 / steps
        # Of prompts away from certainty, if there are any, and by the median, since a few leap.
        usual = beside[np.abs(before) < 4] if (np.abs(before) < 4).any() else beside
        variance = float(np.median(usual)) / _MEDIAN if len(usual) else 0.0
        return cls(_priors(first, np.array(known)), edges, drift, max(variance, 1e-6))


def _priors(first: dict[int | str, float], features: np.ndarray) -> dict[int | str, np.ndarray]:
    """The smoothed distribution over all prompts, or about a straight line in the features."""
    found = np.array(list(first.values()))
    if features.shape[1]:
        design = np.column_stack([np.ones(len(found)), features])
        middle = design @ np.linalg.lstsq(design, found, rcond=None)[0]
        weights = np.exp(-0.5 * ((_LOGITS - middle[:, None]) / (found - middle).std()) ** 2)
    else:
        weights = np.exp(-0.5 * ((_LOGITS - found[:, None]) / _SMOOTH) ** 2).sum(axis=0, keepdims=True)
    weights = np.broadcast_to(weights / weights.sum(axis=1, keepdims=True), (len(found), len(_LOGITS)))
    return dict(zip(first, weights, strict=True))


class Filter:
    """The distribution of each prompt's log-odds, given its rewards.

    Parameters
    ----------
    told : Told
        Prior, drift and variance.
    multiplier : float
        Of the variance.
    jumps : float
        Probability, a step, that a prompt starts anew from the prior.
    """

    def __init__(self, told: Told, multiplier: float = 1.0, jumps: float = 0.0):
        self._told, self._variance, self._jumps = told, told.variance * multiplier, jumps
        self._seen: dict[int | str, tuple[float, np.ndarray]] = {}
        self._moves: dict[tuple[float, float], np.ndarray] = {}

    def values(self, batch: Batch) -> np.ndarray:
        """Posterior means, each without the rollout's own reward; then all rewards are taken in."""
        ahead = np.log(self._forecast(batch) + 1e-300)[:, None, :]
        rates, scored = expit(_LOGITS), batch.scored[..., None]
        reward = batch.filled[..., None]
        likelihood = np.where(scored, reward * np.log(rates) + (1 - reward) * np.log1p(-rates), 0.0)
        whole = ahead + likelihood.sum(axis=1, keepdims=True)
        for prompt, row in zip(batch.prompt_ids, _normal(whole[:, 0]), strict=True):
            self._seen[prompt] = (batch.step, row)
        return _normal(whole - likelihood) @ rates

    def _forecast(self, batch: Batch) -> np.ndarray:
        """Distributions at this step before its rewards, shape (P, K)."""
        part = np.searchsorted(self._told.edges, batch.step, side="right") - 1
        ahead = np.stack([self._told.priors[prompt] for prompt in batch.prompt_ids])
        by_lag = {}
        for row, prompt in enumerate(batch.prompt_ids):
            if prompt in self._seen:
                by_lag.setdefault(batch.step - self._seen[prompt][0], []).append(row)
        for lag, rows in by_lag.items():
            before = np.stack([self._seen[batch.prompt_ids[row]][1] for row in rows])
            moved = before @ self._move(lag, round(self._told.drift[part] * lag, 2))
            leap = 1 - (1 - self._jumps) ** lag
            ahead[rows] = (1 - leap) * moved + leap * ahead[rows]
        return ahead

    def _move(self, lag: float, shift: float) -> np.ndarray:
        """Transition over some steps, shape (K, K)."""
        if (lag, shift) not in self._moves:
            deviation = np.sqrt(self._variance * lag)
            if deviation > _SPACING:
                move = np.exp(-0.5 * ((_LOGITS - _LOGITS[:, None] - shift) / deviation) ** 2)
            else:
                move = _shifted(shift) @ _spread(deviation)
            self._moves[lag, shift] = move / move.sum(axis=1, keepdims=True)
        return self._moves[lag, shift]


def _normal(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - log_weights.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _shifted(shift: float) -> np.ndarray:
    """All mass moved by less than it takes to see on the grid: split between the two nearest points."""
    k = np.arange(len(_LOGITS))
    place = np.clip(k + shift / _SPACING, 0, len(k) - 1)
    low = np.minimum(place.astype(int), len(k) - 2)
    move = np.zeros((len(k), len(k)))
    move[k, low], move[k, low + 1] = 1 - (place - low), place - low
    return move


def _spread(deviation: float) -> np.ndarray:
    """A step to either neighbour, with the right variance."""
    n, share = len(_LOGITS), min(0.5 * (deviation / _SPACING) ** 2, 0.5)
    move = (1 - 2 * share) * np.eye(n) + share * (np.eye(n, k=1) + np.eye(n, k=-1))
    move[0, 0] += share
    move[-1, -1] += share
    return move


def value_mse(trace: Trace, estimator: Filter) -> float:
    """Mean squared error of a filter's values over the scored rollouts of a run."""
    errors = np.empty(len(trace))
    for rows, batch in batches(trace):
        errors[rows] = batch.to_rows(estimator.values(batch)) - trace.extras["true_value"][rows]
    return float((errors[~np.isnan(trace.reward)] ** 2).mean())


def limit(path: Path) -> dict | None:
    """The filter on one run."""
    trace = read_trace(path)
    if len(np.unique(trace.prompt_id)) == 1:
        return None
    row = {"run": path.stem}
    for name, features in (("told", []), ("told, features", feature_columns(trace.extras))):
        told = Told.by(trace, features)
        row[name] = min(value_mse(trace, Filter(told, *given)) for given in itertools.product(_MULTIPLIERS, _JUMPS))
    return row


def table(limits: pl.DataFrame, compared: pl.DataFrame) -> str:
    """The filter beside the adaptive baseline and the best fixed rival."""
    best = summary(compared)["best rival"]
    wide = compared.pivot("baseline", index="run", values="value_mse")
    both = limits.join(wide, on="run", validate="1:1")
    rivals = compared.filter(RIVALS).group_by("run").agg(pl.col("value_mse").min())
    both = both.join(rivals, on="run", validate="1:1").sort("run")
    shown = ["told", "adaptive (features=False)", "told, features", "adaptive", best]
    lines = [
        "Value MSE x 1e-3 on the recorded runs: a Bayes filter told prior, drift and variance by the truth, and ours.",
        "",
        f"| run | filter | `adaptive` without features | filter with features | `adaptive` | {best} |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['run']} | {' | '.join(f'{1e3 * row[name]:.2f}' for name in shown)} |"
        for row in both.iter_rows(named=True)
    ]
    for title, last in ((best, both[best]), ("the best rival of each run", both["value_mse"])):
        ratios = " | ".join(f"{geometric_mean(both[name].to_numpy() / last.to_numpy()):.3f}" for name in shown)
        lines.append(f"| geometric mean of the ratio to {title} | {ratios} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Filter all runs, and write the table."""
    paths, out = asked_for(__doc__, OUT, arguments)
    compared = json.loads(COMPARED.with_suffix(".json").read_text())["parameters"]["runs"]
    if foreign := [path for path in paths if compared.get(path.stem) != digest(path)]:
        # All sets of runs have the same names: the filter would stand beside baselines on other runs.
        raise SystemExit(f"{foreign[0]} is none of the runs of {COMPARED}; leave --runs out")
    found = [limit(path) for path in track(paths, description="filtering runs", transient=True)]
    written = table(pl.DataFrame([row for row in found if row]), pl.read_csv(COMPARED))
    with atomic_write(out) as temporary:
        temporary.write_text(written)
    print(written + f"Table: {out}")


if __name__ == "__main__":
    main()

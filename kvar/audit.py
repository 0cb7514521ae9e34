"""Which baseline would have served a recorded run best.

Every baseline is replayed over the run and scored by how well its value predicts a reward that it has not seen. For
such a reward Z, ``E[(Z - V)^2] = noise + MSE(V)`` and the noise is the same for all baselines, so the error ranks them
without knowing the truth. A baseline that takes a rollout's own reward in looks better on it than on a fresh one by
``2 Cov(Z, V)``; that optimism is added back (Efron 2004, JASA 99:619, covariance penalties), with the noise taken from
the group where it has two rollouts or more, and bounded by the error of the value without the own reward where not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kvar.baselines import Baseline, baseline_class, baseline_names, make_baseline
from kvar.baselines.group import group_variances
from kvar.files import whole_file
from kvar.replaying import Replayed, batches, replay_baseline
from kvar.traces import Trace

__all__ = ["AuditReport", "Interval", "audit"]

_TRUTH = "true_value"


@dataclass(frozen=True)
class Interval:
    """A mean over rollouts with its uncertainty over prompts and steps.

    Attributes
    ----------
    mean : float
        The mean over all rollouts that could be scored.
    standard_error : float
        Of the mean. Rollouts of one prompt may depend on each other in any way, and so may rollouts of one step, which
        share the policy and, for some baselines, the value.
    low, high : float
        Limits of the 95 % confidence interval, Student's t with one degree of freedom less than there are prompts.
    n_rollouts : int
        Rollouts scored.
    n_prompts : int
        Prompts that they belong to.
    """

    mean: float
    standard_error: float
    low: float
    high: float
    n_rollouts: int
    n_prompts: int

    @classmethod
    def over_prompts_and_steps(cls, values: np.ndarray, prompts: np.ndarray, steps: np.ndarray) -> Interval:
        """Mean of values that are dependent within prompts and within steps.

        The variance of a mean under two-way clustering (Cameron, Gelbach and Miller 2011, JBES 29:238, equation 2.8):
        that over prompts plus that over steps minus that over their intersections; where this falls below the first,
        the first stands.

        Parameters
        ----------
        values : ndarray, shape (n,)
            NaN is left out and not counted.
        prompts, steps : ndarray of int, shape (n,)
            Which prompt and which step each value belongs to, numbered from 0.

        Returns
        -------
        Interval
            All NaN without a value, and without limits for a single prompt.
        """
        # The one use of SciPy here; at the top it would double the time that `import kvar` takes.
        from scipy.special import stdtrit

        kept = ~np.isnan(values)
        values, prompts, steps = values[kept], prompts[kept], steps[kept]
        if values.size == 0:
            return cls(np.nan, np.nan, np.nan, np.nan, 0, 0)
        mean = float(values.mean())
        n_prompts = int((np.bincount(prompts) > 0).sum())
        if n_prompts == 1:
            return cls(mean, np.nan, np.nan, np.nan, values.size, 1)
        residuals = values - mean
        _, groups = np.unique(prompts * (int(steps.max()) + 1) + steps, return_inverse=True)
        over_prompts, over_steps, over_both = (_cluster_variance(residuals, c) for c in (prompts, steps, groups))
        error = float(np.sqrt(max(over_prompts + over_steps - over_both, over_prompts)))
        half = float(stdtrit(n_prompts - 1, 0.975)) * error
        return cls(mean, error, mean - half, mean + half, values.size, n_prompts)


def _cluster_variance(residuals: np.ndarray, clusters: np.ndarray) -> float:
    """Variance of a mean whose residuals are dependent within clusters (Cochran 1977, Sampling Techniques, 2.12)."""
    n_clusters = int((np.bincount(clusters) > 0).sum())
    correction = n_clusters / (n_clusters - 1) if n_clusters > 1 else 1.0
    return float((np.bincount(clusters, weights=residuals) ** 2).sum()) * correction / residuals.size**2


@dataclass(frozen=True)
class AuditRow:
    """What an audit says of one baseline.

    Attributes
    ----------
    baseline : str
        Its name.
    parameters : dict
        Its parameters.
    one_step_error : Interval
        Squared error of its value as a prediction of a fresh reward.
    above_best : Interval
        The same error less that of the recommended baseline, rollout by rollout. The interval takes the recommended one
        as given, although the same data chose it.
    value_mse : Interval or None
        Squared error against the true value, where the trace holds it.
    """

    baseline: str
    parameters: dict
    one_step_error: Interval
    above_best: Interval
    value_mse: Interval | None

    @property
    def label(self) -> str:
        """The name, with the parameters that differ from the defaults."""
        defaults = baseline_class(self.baseline)().parameters
        changed = [f"{key}={value}" for key, value in self.parameters.items() if value != defaults[key]]
        return f"{self.baseline} ({', '.join(changed)})" if changed else self.baseline


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes
    ----------
    rows : list of AuditRow
        A baseline each, in the order of their errors over the rollouts that can be compared.
    recommendation : str
        One sentence with numbers.
    skipped : dict of str to str
        Baselines that could not be replayed, and why.
    n_rollouts, n_unscored : int
        Rollouts in the trace, and those of them without a reward, which are left out.
    """

    rows: list[AuditRow]
    recommendation: str
    skipped: dict[str, str] = field(default_factory=dict)
    n_rollouts: int = 0
    n_unscored: int = 0

    @property
    def table(self):
        """One row a baseline, best first, as a polars DataFrame."""
        import polars

        return polars.DataFrame(self._records())

    def _records(self) -> list[dict]:
        records = []
        for row in self.rows:
            record = {"baseline": row.baseline, "parameters": json.dumps(row.parameters)}
            for name in ("one_step_error", "above_best", "value_mse"):
                interval = getattr(row, name)
                if interval is not None:
                    record |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
            record |= {"rollouts": row.one_step_error.n_rollouts, "prompts": row.one_step_error.n_prompts}
            records.append(record)
        return records

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the table as CSV and JSON, and the picture as PNG.

        Parameters
        ----------
        folder : path
            Where; made if need be.

        Returns
        -------
        Path
            The folder.
        """
        from kvar import plotting

        folder = Path(folder)
        with whole_file(folder / "audit.csv") as temporary:
            self.table.write_csv(temporary)
        content = {
            "recommendation": self.recommendation,
            "rollouts": self.n_rollouts,
            "unscored": self.n_unscored,
            "skipped": self.skipped,
            "table": self._records(),
        }
        with whole_file(folder / "audit.json") as temporary:
            # NaN is no JSON; what is undefined is null.
            temporary.write_text(json.dumps(_without_nan(content), indent=2) + "\n")
        plotting.save(plotting.audit_picture(self), folder / "audit.png")
        return folder


def _without_nan(content):
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and np.isnan(content) else content


def group_noise(trace: Trace) -> np.ndarray:
    """Estimate the variance of each rollout's reward from its group.

    Parameters
    ----------
    trace : Trace
        A recorded run.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unbiased variance of the group's rewards; NaN where fewer than two are scored.
    """
    noise = np.empty(len(trace))
    for rows, batch in batches(trace):
        noise[rows] = batch.to_rows(np.broadcast_to(group_variances(batch), batch.rewards.shape))
    return noise


def fresh_error(reward: np.ndarray, replayed: Replayed, noise: np.ndarray) -> np.ndarray:
    """Squared error of a value as a prediction of a reward that it has not seen.

    Parameters
    ----------
    reward : ndarray, shape (n,)
        Rewards.
    replayed : Replayed
        Values, and how much of the own reward is in each.
    noise : ndarray, shape (n,)
        Variance of each reward, NaN where it is not known.

    Returns
    -------
    ndarray of float64, shape (n,)
        Unbiased where the own reward is left out or the noise is known; an upper bound in expectation where it is
        not (for a value that is linear in the own reward); NaN where the value is the own reward and nothing else.
    """
    error = reward - replayed.values
    weight = replayed.own_weight
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.where(weight < 1, (error / (1 - weight)) ** 2, np.nan)
    # A value that falls with the own reward looks worse than it is, at least by nothing.
    unknown = np.where(weight >= 0, bound, 0.0)
    return error**2 + 2 * weight * np.where(np.isnan(noise), unknown, noise)


def audit(trace: Trace, baselines: Iterable[str | Baseline] | None = None, progress: bool = False) -> AuditReport:
    """Replay baselines over a recorded run and say which one would have served it best.

    Parameters
    ----------
    trace : Trace
        A recorded run.
    baselines : iterable of str or Baseline, optional
        Names, which stand for their default parameters, or baselines, which stand for theirs. All registered ones by
        default; those that need a column which the trace lacks, or rewards in another range, are then skipped and
        reported.
    progress : bool
        Show a progress bar.

    Returns
    -------
    AuditReport
        A table, a recommendation and `save`.

    Raises
    ------
    ValueError
        If the trace is empty, no reward in it is scored, or a baseline that was asked for is unknown or needs a
        column which the trace lacks.
    """
    scored = ~np.isnan(trace.reward)
    if not scored.any():
        raise ValueError(f"nothing to audit: the trace has {len(trace)} rollouts and none of them has a reward")
    candidates, skipped = _candidates(trace, baselines)

    _, prompts = np.unique(trace.prompt_id, return_inverse=True)
    _, steps = np.unique(trace.step, return_inverse=True)

    def interval(values):
        return Interval.over_prompts_and_steps(values, prompts, steps)

    noise = group_noise(trace)
    truth = np.asarray(trace.extras[_TRUTH], dtype=np.float64) if _TRUTH in trace.extras else None
    errors, mses = [], []
    for baseline in _tracked(candidates, progress):
        replayed = replay_baseline(trace, baseline)
        errors.append(fresh_error(trace.reward, replayed, noise))
        if truth is not None:
            mses.append(interval(np.where(scored, (replayed.values - truth) ** 2, np.nan)))

    # Means are compared over the same rollouts: those that every baseline has a score for, but for baselines that have
    # none for half of them or more, which stand in the table and cannot be recommended. Nor can the oracle.
    judged = [k for k, error in enumerate(errors) if np.isnan(error).sum() <= (~scored).sum() + scored.sum() / 2]
    common = ~np.isnan(np.sum([errors[k] for k in judged], axis=0))
    errors = [np.where(common, error, np.nan) if k in judged else error for k, error in enumerate(errors)]
    means = [interval(error) for error in errors]
    eligible = [k for k in judged if candidates[k].name != "oracle"]
    best = min(eligible or judged, key=lambda k: means[k].mean)
    rows = [
        AuditRow(
            baseline=baseline.name,
            parameters=baseline.parameters,
            one_step_error=means[k],
            above_best=interval(errors[k] - errors[best]),
            value_mse=mses[k] if mses else None,
        )
        for k, baseline in enumerate(candidates)
    ]
    ranked = sorted(rows, key=lambda row: (np.isnan(row.one_step_error.mean), row.one_step_error.mean))
    return AuditReport(ranked, _recommend(rows, best), skipped, len(trace), int((~scored).sum()))


def _candidates(trace, baselines) -> tuple[list[Baseline], dict[str, str]]:
    if baselines is not None:
        # Fresh ones, so that a baseline with a past can be asked about as well as its name.
        asked = [(b.name, b.parameters) if isinstance(b, Baseline) else (b, {}) for b in baselines]
        return [make_baseline(name, **parameters) for name, parameters in asked], {}
    available, skipped = [], {}
    for baseline in map(make_baseline, baseline_names()):
        if obstacle := baseline.obstacle(trace.reward, trace.extras):
            skipped[baseline.name] = obstacle
        else:
            available.append(baseline)
    return available, skipped


def _tracked(candidates: Sequence[Baseline], progress: bool) -> Iterable[Baseline]:
    if not progress:
        return candidates
    from rich.progress import track

    return track(candidates, description="replaying baselines", transient=True)


def _recommend(rows: list[AuditRow], best: int) -> str:
    chosen = rows[best]
    sentence = f"Use {chosen.label}: its one-step-ahead squared error is {chosen.one_step_error.mean:.4g}"
    rivals = [row for k, row in enumerate(rows) if k != best and row.baseline != "oracle"]
    rivals = [row for row in rivals if not np.isnan(row.above_best.mean)]
    if not rivals:
        return sentence + "."
    second = min(rivals, key=lambda row: row.above_best.mean)
    gap = second.above_best
    sentence += f", {gap.mean:.2g} below the next best, {second.label}"
    if np.isnan(gap.low):
        return sentence + "; one prompt alone gives no interval."
    if gap.low > 0:
        return sentence + f" (95 % interval {gap.low:.2g} to {gap.high:.2g})."
    return sentence + f", which is not clearly worse (95 % interval {gap.low:.2g} to {gap.high:.2g})."

"""What an audit found, as plain data: one row per baseline and everything else that is reported."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kvar.auditing.finding import Finding
from kvar.auditing.group_size_study import GroupSizeStudy
from kvar.auditing.log_statistics import LogStatistics
from kvar.auditing.prompt_verdicts import VERDICTS, PromptVerdicts
from kvar.auditing.window_study import WindowStudy
from kvar.baselines import baseline_class
from kvar.intervals import Interval

__all__ = ["SCHEMA", "AuditFindings", "AuditRow", "ErrorSaved", "error_saved", "plain_data"]

# Version of the JSON: one more whenever a key goes or changes its meaning; keys may be added.
SCHEMA = 1

_SCORES = (
    *("one_step_error", "above_best", "estimated_value_mse", "value_mse"),
    *("gradient_error", "gradient_above_best"),
)


@dataclass(frozen=True)
class AuditRow:
    """Scores of one baseline.

    Attributes
    ----------
    baseline : str
        Name of the baseline.
    parameters : dict
        Its parameters.
    one_step_error : Interval
        Squared error of its value as a prediction of a reward that it has not seen.
    above_best : Interval
        The same error less that of the recommended baseline, rollout by rollout. The interval takes the recommended one
        as given, although the same data chose it.
    estimated_value_mse : Interval
        Squared error against the true value, estimated without it: the error less the noise of the rewards.
    value_mse : Interval or None
        Squared error against the true value, where the trace holds it.
    takes_own_reward : bool
        Whether a rollout's own reward enters its own value, which biases the policy gradient.
    by_part : ndarray of float64
        `one_step_error` in successive parts of the run.
    p_value_adjusted : float
        The p-value of `excess`, adjusted by Holm's method for the number of baselines compared with the recommended
        one; NaN where there is no p-value.
    gradient_error : Interval or None
        Squared one-step-ahead error weighted by the squared norm of the score: the part of the gradient's second moment
        that the baseline moves. It is in squared units of the reward, and equals `one_step_error` if all norms are
        equal. Where the own reward has a weight w in the value, advantages are divided by 1 - w, which leaves it out.
        None where the log has no score norms.
    gradient_above_best : Interval or None
        The same less that of the recommended baseline.
    """

    baseline: str
    parameters: dict
    one_step_error: Interval
    above_best: Interval
    estimated_value_mse: Interval
    value_mse: Interval | None
    takes_own_reward: bool
    by_part: np.ndarray = field(repr=False)
    p_value_adjusted: float = np.nan
    gradient_error: Interval | None = None
    gradient_above_best: Interval | None = None

    @property
    def ranked(self) -> Interval:
        """The error by which baselines are ranked: that of the gradient where the log has norms, else of the value."""
        return self.one_step_error if self.gradient_error is None else self.gradient_error

    @property
    def excess(self) -> Interval:
        """The same less that of the recommended baseline."""
        return self.above_best if self.gradient_above_best is None else self.gradient_above_best

    @property
    def label(self) -> str:
        """The name, with the parameters that differ from the defaults."""
        defaults = baseline_class(self.baseline)().parameters
        changed = [f"{key}={value}" for key, value in self.parameters.items() if value != defaults[key]]
        return f"{self.baseline} ({', '.join(changed)})" if changed else self.baseline


@dataclass(frozen=True)
class ErrorSaved:
    """How much less estimated value MSE the chosen baseline has than the usual one of trainers."""

    usual: AuditRow
    percent: int
    at_least: bool  # Whether the error of the chosen one cannot be told from 0, and its upper limit is compared

    def __str__(self) -> str:
        """The percentage in words."""
        return f"{'at least ' if self.at_least else ''}{self.percent} % less"


def error_saved(rows: Sequence[AuditRow], chosen: AuditRow, facts: LogStatistics) -> ErrorSaved | None:
    """How much of the value MSE of the usual baseline the chosen one saves, or None if that is not known or nothing."""
    name = "group-mean" if facts.group_size > 1 else "batch-mean"
    usual = next((row for row in rows if row.baseline == name), chosen)
    level, error = usual.estimated_value_mse.mean, chosen.estimated_value_mse
    if not level > 0:
        return None
    at_least = not error.mean > 0.005 * level
    if at_least and not error.high > 0:
        return None
    saved = 100 * (1 - (error.high if at_least else error.mean) / level)
    percent = min(int(saved) if at_least else round(saved), 99)
    return ErrorSaved(usual, percent, at_least) if percent > 0 else None


@dataclass(frozen=True)
class AuditFindings:
    """All that an audit found; `AuditReport` documents the attributes."""

    rows: list[AuditRow]
    chosen: AuditRow
    recommendation: str
    findings: list[Finding]
    warnings: list[str]
    lines: dict[str, str]
    facts: LogStatistics
    prompts: PromptVerdicts
    group_sizes: GroupSizeStudy | None = None
    windows: WindowStudy | None = None
    effective_sample_size: float = np.nan
    skipped: dict[str, str] = field(default_factory=dict)
    reading: list[str] = field(default_factory=list)
    source: str = ""

    @property
    def n_rollouts(self) -> int:
        """Rollouts in the trace."""
        return self.facts.n_rollouts

    @property
    def n_unscored(self) -> int:
        """Rollouts without a reward, which are left out."""
        return self.facts.n_unscored

    @property
    def knows_truth(self) -> bool:
        """Whether the trace holds true values."""
        return any(row.value_mse is not None for row in self.rows)

    @property
    def by_gradient(self) -> bool:
        """Whether baselines are ranked by the gradient, since the log has score norms."""
        return self.chosen.gradient_error is not None

    @property
    def key_figures(self) -> dict[str, float]:
        """The numbers worth a curve in a tracker; what is undefined is left out."""
        facts, sizes, windows = self.facts, self.group_sizes, self.windows
        figures = {
            "reward_mean": facts.reward_mean,
            "wasted_rollouts": facts.wasted_rollouts,
            "zero_variance_groups": facts.zero_variance_groups,
            "reward_noise": facts.noise,
            "one_step_error": self.chosen.one_step_error.mean,
            "value_mse": self.chosen.estimated_value_mse.mean,
            "effective_sample_size": self.effective_sample_size,
            "group_size_advised": sizes.advised.size if sizes is not None and sizes.advised is not None else np.nan,
            "window": np.nan if windows is None else windows.best,
        }
        return {name: float(number) for name, number in figures.items() if not np.isnan(number)}

    @property
    def severities(self) -> list[str]:
        """How severe each finding is: high, medium, low or info; a warning that numbers may mislead is medium."""
        return [found.severity for found in self.findings] + ["medium"] * len(self.warnings)

    @property
    def table(self):
        """One row a baseline, best first, as a polars DataFrame."""
        import polars

        return polars.DataFrame(self._records(), infer_schema_length=None)

    def _records(self) -> list[dict]:
        records = []
        for row in self.rows:
            record: dict[str, object] = {"baseline": row.baseline, "parameters": json.dumps(row.parameters)}
            for name in _SCORES:
                interval = getattr(row, name)
                if interval is not None:
                    record |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
            record |= {"p_value": row.excess.p_value, "p_value_adjusted": row.p_value_adjusted}
            record |= {"rollouts": row.one_step_error.n_rollouts, "prompts": row.one_step_error.n_prompts}
            records.append(record)
        return records

    def to_dict(self) -> dict:
        """Everything as plain data, ready for JSON.

        Returns
        -------
        dict
            What is undefined is None.
        """
        content = {
            "schema": SCHEMA,
            "chosen": self.chosen.label,
            "recommendation": self.recommendation,
            "findings": self.findings,
            "warnings": self.warnings,
            "lines": self.lines,
            "rollouts": self.n_rollouts,
            "unscored": self.n_unscored,
            "skipped": self.skipped,
            "reading": self.reading,
            "source": self.source,
            "facts": self.facts.as_dict(),
            "verdicts": {verdict: int(self.prompts.are(verdict).sum()) for verdict in VERDICTS},
            "effective_sample_size": self.effective_sample_size,
            "group_sizes": self.group_sizes,
            "windows": self.windows,
            "table": self._records(),
        }
        return plain_data(content)


def plain_data(content):
    """Nested plain data, with None for NaN and infinity, which JSON does not know."""
    if isinstance(content, dict):
        return {key: plain_data(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [plain_data(value) for value in content]
    if isinstance(content, np.ndarray):
        return plain_data(content.tolist())
    if hasattr(content, "__dataclass_fields__"):
        return plain_data(vars(content))
    if isinstance(content, np.generic):
        content = content.item()
    return None if isinstance(content, float) and not np.isfinite(content) else content

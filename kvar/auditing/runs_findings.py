"""What an audit of several runs found, as plain data: a row a run, and the comparison of their settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kvar.auditing.comparison import Comparison, Difference
from kvar.auditing.findings import SCHEMA, plain_data
from kvar.auditing.report import AuditReport

__all__ = ["RunsFindings"]


@dataclass(frozen=True)
class RunsFindings:
    """All that an audit of several runs found; `RunsReport` documents the attributes."""

    reports: dict[str, AuditReport]
    settings: list[str]
    comparison: Comparison | None
    not_compared: str
    differing: dict[str, list]
    failed: dict[str, str]

    @property
    def records(self) -> list[dict]:
        """The key figures of each run."""
        return [self._record(k, name) for k, name in enumerate(self.reports)]

    @property
    def table(self):
        """The key figures as a polars DataFrame, one row a run."""
        import polars

        return polars.DataFrame(self.records, infer_schema_length=None)

    @property
    def verdicts(self) -> list[str]:
        """The comparison in sentences; why there is none, if there is none."""
        if self.comparison is None:
            return [self.not_compared]
        sentences = [_verdict(difference) for difference in self.comparison.differences]
        if not self.comparison.differences[0].over_runs:
            sentences.append(
                "With one run a setting, these intervals are over prompts and hold for these runs only: chance moves "
                "all prompts of a run together, so one pair cannot tell luck from settings. Give more seeds, as in "
                "kvar audit old=RUN1 old=RUN2 new=RUN3 new=RUN4."
            )
        return sentences

    def _record(self, k: int, name: str) -> dict:
        report = self.reports[name]
        facts, sizes, windows = report.facts, report.group_sizes, report.windows
        reward_first, reward_last = facts.reward_first_and_last
        return {
            "run": name,
            "setting": self.settings[k],
            **{field: getattr(facts, field) for field in ("n_rollouts", "n_prompts", "n_steps", "group_size")},
            "reward_mean": facts.reward_mean,
            "reward_first": reward_first,
            "reward_last": reward_last,
            "wasted_rollouts": facts.wasted_rollouts,
            "baseline": report.chosen.label,
            "group_size_advised": sizes.advised.size if sizes is not None and sizes.advised is not None else None,
            "window": None if windows is None else windows.best,
        }

    def to_dict(self) -> dict:
        """Everything as plain data, ready for JSON; what is undefined is None."""
        content = {
            "schema": SCHEMA,
            "runs": self.records,
            "verdicts": self.verdicts,
            "comparison": None,
            "differing_settings": self.differing,
            "failed": self.failed,
            "audits": {name: report.to_dict() for name, report in self.reports.items()},
        }
        if self.comparison is not None:
            differences = [{**vars(one), "different": one.different} for one in self.comparison.differences]
            content["comparison"] = {**vars(self.comparison), "differences": differences}
        return plain_data(content)

    @property
    def places(self) -> dict[str, str]:
        """Folder of each run's own audit, below that of the page."""
        return {name: f"run-{k + 1}" for k, name in enumerate(self.reports)}


def _verdict(difference: Difference) -> str:
    one = difference.interval
    more = f"{abs(one.mean):.3g} {'more' if one.mean >= 0 else 'less'}"
    sentence = (
        f"{difference.setting} earns {more} than {difference.reference} ({difference.quantity}, on {one.n_prompts:,} "
        f"prompts; difference {one.mean:.3g}"
    )
    if np.isnan(one.low):
        return sentence + ", without an interval)."
    sentence += f", 95 % interval {one.low:.3g} to {one.high:.3g}"
    if difference.different is None:
        return sentence + " over prompts)."
    runs = f"runs, {difference.n_runs[0]} against {difference.n_runs[1]}"
    said = "beyond chance" if difference.different else "not beyond chance"
    return sentence + f" over prompts and {runs}): {said} (p = {difference.p_value_adjusted:.2g}, adjusted)."

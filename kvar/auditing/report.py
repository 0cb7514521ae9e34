"""What `kvar.audit` returns: the findings, with files to save and a page to show in a notebook."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kvar import plotting
from kvar.auditing.error_picture import audit_picture
from kvar.auditing.findings import AuditFindings
from kvar.auditing.page import fragment, page, score_table
from kvar.utils.atomic_files import atomic_write, atomic_write_text
from kvar.utils.summaries import TABLE, text_lines, text_table

__all__ = ["AuditReport"]


@dataclass(frozen=True)
class AuditReport(AuditFindings):
    """What `kvar.audit` found. In a notebook it shows itself as the page that `save` writes, in text as a summary.

    Attributes
    ----------
    rows : list of AuditRow
        One per baseline, by `one_step_error` over the rollouts that can be compared, or by `gradient_error` where the
        trace has score norms, least first. Each holds the scores ``one_step_error``, ``above_best``,
        ``estimated_value_mse``, where the trace holds true values ``value_mse``, and where it has score norms
        ``gradient_error`` and ``gradient_above_best``, as means with 95 % intervals in squared units of the reward.
    chosen : AuditRow
        The row of the recommended baseline.
    recommendation : str
        Which baseline to use, in one sentence with numbers.
    findings : list of Finding
        What else is worth knowing, the worst first. As text a finding is its sentence; it has its severity, its number
        with 95 % limits, what it rests on, what to do in each trainer, and what that saves.
    warnings : list of str
        Why the numbers may mislead.
    lines : dict of str to str
        Settings that follow the recommendation, by trainer; empty for a log from which groups were filtered out.
    facts : LogStatistics
        What the log shows without any baseline: groups, repeats, wasted rollouts, noise, drift, and whether the norm of
        the score goes with the reward.
    prompts : PromptVerdicts
        Value now, slope and verdict of each prompt, as in `kvar.prompt_values`.
    group_sizes : GroupSizeStudy or None
        Value error of the baseline with the best values with smaller groups; None where there are no groups.
    windows : WindowStudy or None
        Error of the kernel baseline with fixed windows; None where no prompt comes back.
    effective_sample_size : float
        Median number of rewards of equal weight behind a value of the recommended baseline; NaN if it does not say.
    skipped : dict of str to str
        Baselines that could not be replayed, and why.
    reading : list of str
        How the log was read and what was left out.
    source : str
        Where the log came from; empty for a trace in memory.
    n_rollouts : int
        Rollouts in the trace.
    n_unscored : int
        Rollouts without a reward, which are left out.
    knows_truth : bool
        Whether the trace holds true values.
    by_gradient : bool
        Whether baselines are ranked by the gradient, since the trace has score norms.
    key_figures : dict of str to float
        The numbers worth a curve in a tracker; what is undefined is left out.
    severities : list of str
        How severe each finding is, and "medium" for each warning: high, medium, low or info.
    table : polars.DataFrame
        One row per baseline in the order of `rows`: the scores with their limits, the p-value of the difference to the
        recommended baseline (``p_value``), the same adjusted for the number of baselines (``p_value_adjusted``), and
        the numbers of rollouts and prompts. ``table.to_pandas()`` is one of pandas, by way of pyarrow.

    See Also
    --------
    kvar.audit : Returns one.

    Examples
    --------
    >>> from importlib import resources
    >>> import kvar
    >>> report = kvar.audit(resources.files("kvar") / "data" / "demo.parquet", ["leave-one-out", "adaptive"])
    >>> report.table["baseline"].to_list()
    ['adaptive', 'leave-one-out']
    >>> report.rows[0].one_step_error
    Interval(0.1485, 0.1381 to 0.1589)
    >>> worst = report.findings[0]
    >>> worst.kind, worst.severity, worst.action["TRL"]
    ('all-right', 'medium', 'KAEConfig(baseline="adaptive", prompt_order="variance")')
    """

    def save(self, folder: str | os.PathLike, refresh: float | None = None) -> Path:
        """Write the page as HTML, both tables, everything as JSON, and the main picture as PNG.

        Parameters
        ----------
        folder : path
            Where to write ``audit.html``, ``audit.csv``, ``audit.json``, ``audit.png`` and ``prompts.parquet``; made if
            need be.
        refresh : float, optional
            Seconds after which a browser loads the page again, for a log of a run that goes on.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        OSError
            If the folder cannot be written to. Files that were there before are then whole, old or new.
        """
        folder = Path(folder)
        atomic_write_text(folder / "audit.html", page(self, refresh))
        # Not by its path, of which polars wants UTF-8.
        atomic_write_text(folder / "audit.csv", self.table.write_csv())
        atomic_write_text(folder / "audit.json", json.dumps(self.to_dict(), indent=2) + "\n")
        with atomic_write(folder / "prompts.parquet") as temporary, temporary.open("wb") as file:
            self.prompts.table.write_parquet(file)
        plotting.save(audit_picture(self), folder / "audit.png")
        return folder

    def __repr__(self) -> str:
        """The recommendation, what calls for action, and the best baselines."""
        facts, calm = self.facts, [finding for finding in self.findings if finding.severity == "info"]
        of = f" of {self.source}" if self.source else ""
        size = f"{facts.n_rollouts:,} rollouts of {facts.n_prompts:,} prompts in {facts.n_steps:,} steps"
        heads, rows = score_table(self)
        lines = [
            *text_lines([f"Audit{of}: {size}.", self.recommendation]),
            *text_lines((f"{one.severity}: {one.says}" for one in self.findings if one not in calm), "- "),
            *text_lines(self.warnings, "! "),
            *text_table(["baseline", *heads], [[row.label, *cells] for row, cells in rows], rest=TABLE),
            f".findings has {len(calm)} more, .lines the settings for each trainer; .save(folder) writes all of it.",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return fragment(self)

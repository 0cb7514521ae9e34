"""What `kvar.audit_runs` returns: its findings, with files to save and a page to show in a notebook."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kvar.auditing.runs_findings import RunsFindings
from kvar.auditing.runs_page import figure_cells, runs_fragment, runs_page
from kvar.utils.atomic_files import atomic_write_text
from kvar.utils.summaries import TABLE, text_lines, text_table

__all__ = ["RunsReport"]


@dataclass(frozen=True)
class RunsReport(RunsFindings):
    """Several runs, audited and compared. In a notebook it shows itself as the page that `save` writes.

    Attributes
    ----------
    reports : dict of str to AuditReport
        The audit of each run, by name.
    settings : list of str
        The setting of each run.
    comparison : Comparison or None
        The settings compared with the first one on the same prompts.
    not_compared : str
        Why there is no comparison.
    differing : dict of str to list
        Settings that differ by the files next to the logs, with the value of each run.
    failed : dict of str to str
        Runs that could not be audited, and why.
    records : list of dict
        The key figures of each run.
    table : polars.DataFrame
        The same.
    verdicts : list of str
        The comparison in sentences.

    See Also
    --------
    kvar.audit_runs : Returns one.

    Examples
    --------
    >>> import kvar
    >>> columns = {"step": [0, 0, 1, 1], "prompt_id": [1, 2, 1, 2]}
    >>> runs = {f"seed {k}": kvar.Trace.from_columns({**columns, "reward": [0, k, 1, 1]}) for k in (0, 1)}
    >>> report = kvar.audit_runs(runs, baselines=["kernel", "batch-mean"], n_jobs=1)
    >>> report.table.select("run", "reward_mean", "baseline").rows()
    [('seed 0', 0.5, 'batch-mean'), ('seed 1', 0.75, 'kernel')]
    """

    def save(self, folder: str | os.PathLike) -> Path:
        """Write ``runs.html``, ``runs.csv`` and ``runs.json``, and the audit of each run in a folder below.

        Parameters
        ----------
        folder : path
            Made if need be.

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
        for name, place in self.places.items():
            self.reports[name].save(folder / place)
        contents = {
            "runs.html": runs_page(self),
            "runs.csv": self.table.write_csv(),
            "runs.json": json.dumps(self.to_dict(), indent=2) + "\n",
        }
        for name, text in contents.items():
            atomic_write_text(folder / name, text)
        return folder

    def __repr__(self) -> str:
        """The comparison in sentences, and a row a run."""
        heads, rows = figure_cells(self)
        lines = [
            *text_lines(self.verdicts),
            *text_table(heads, rows, rest=TABLE),
            *text_lines((f"{name} is left out: {reason}" for name, reason in self.failed.items()), "! "),
            ".reports has the audit of each run; .save(folder) writes it all.",
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return runs_fragment(self, links=False)

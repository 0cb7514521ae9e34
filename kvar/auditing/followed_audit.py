"""The audit of a log of a run that goes on, brought up to date as the log grows."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from kvar.auditing.report import AuditReport
from kvar.auditing.running_audit import Reading, RunningAudit
from kvar.readers.followed_log import FollowedLog
from kvar.rollouts.trace import part_of

__all__ = ["FollowedAudit"]


class FollowedAudit:
    """Audits a log whenever it has grown; an update costs what the new rows cost.

    Where rows that were summed have changed, or new rewards rule a baseline out, the audit begins anew.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        baselines: Sequence[str] | None = None,
        n_jobs: int | None = None,
        cost_per_rollout: float | None = None,
        **reading,
    ):
        self._log = FollowedLog(path, **reading)
        self._settings = (baselines, n_jobs, cost_per_rollout)
        self._audit: RunningAudit | None = None

    @property
    def read_anew_because(self) -> str:
        """Why the last update had to read the whole log; empty if it did not."""
        return self._log.reason

    def update(self, progress: bool = False) -> AuditReport | None:
        """The audit of the whole log, or None if nothing is new."""
        log, audit = self._log, self._audit
        if not log.read(-np.inf if audit is None else audit.last_step):
            return None
        rows = log.rows
        if audit is not None and log.whole and audit.knows(rows):
            rows = part_of(rows, rows.step > audit.last_step)
        elif log.whole:
            audit = None
        if audit is None or not audit.fits(rows):
            if not log.whole:
                log.read_all()
            rows = log.rows
            audit = RunningAudit(rows, *self._settings)
        self._audit = audit
        return audit.report(rows, Reading.of(log.log), progress, more_to_come=True)

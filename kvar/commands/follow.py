"""``kvar audit PATH --follow``: a page that is written again whenever the log of a running job has grown."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from kvar.auditing.followed_audit import FollowedAudit
from kvar.auditing.report import AuditReport
from kvar.utils.terminal import visible

__all__ = ["follow"]


def follow(audit: FollowedAudit, folder: Path, every: float) -> AuditReport:
    """Save the audit to a folder whenever the log has grown, until Ctrl-C; returns the last one."""
    console, report = Console(stderr=True, highlight=False), None
    said: set[str] = set()
    try:
        with console.status("reading") as status:
            while True:
                found = audit.update()
                if found is not None:
                    report = found
                    report.save(folder, refresh=every)
                    size = f"{report.facts.n_steps:,} steps, {report.n_rollouts:,} rollouts"
                    # In a pipe there is no line to change.
                    if not console.is_terminal:
                        console.print(f"{size}: {escape(visible(str(folder / 'audit.html')))}", soft_wrap=True)
                    status.update(f"{size}; looking every {every:g} s; Ctrl-C ends")
                if (reason := audit.read_anew_because) and reason not in said:
                    said.add(reason)
                    console.print(f"The whole log was read again: {escape(visible(reason))}.", soft_wrap=True)
                time.sleep(every)
    except KeyboardInterrupt:
        if report is None:
            raise
        return report

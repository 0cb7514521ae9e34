"""Which baseline, window and group size would have served a recorded run best, with evidence.

`audit` replays every baseline over a run and scores each by how well its value predicts a reward that it has not seen.
The rest of the package studies windows and group sizes in the same way, and writes the result as sentences and pages.
"""

from kvar.auditing.audit_runs import audit_runs
from kvar.auditing.findings import AuditRow
from kvar.auditing.prediction_error import fresh_error, group_noise
from kvar.auditing.report import AuditReport
from kvar.auditing.run import audit
from kvar.auditing.runs_report import RunsReport
from kvar.intervals import Interval

__all__ = ["AuditReport", "AuditRow", "Interval", "RunsReport", "audit", "audit_runs", "fresh_error", "group_noise"]

"""Which baseline, window and group size would have served a recorded run best, with evidence.

`audit` replays every baseline over a run and scores each by how well its value predicts a reward that it has not seen;
the rest of the package studies windows and group sizes in the same way, and puts the result into words and pages.
"""

from kvar.audit.intervals import Interval
from kvar.audit.report import AuditReport, AuditRow
from kvar.audit.run import audit
from kvar.audit.scores import fresh_error, group_noise

__all__ = ["AuditReport", "AuditRow", "Interval", "audit", "fresh_error", "group_noise"]

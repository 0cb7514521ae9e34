"""What `kvar.audit` returns: the findings, with files to save and a page to show in a notebook."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kvar import plotting
from kvar.auditing.findings import AuditFindings
from kvar.auditing.page import fragment, page
from kvar.auditing.pictures import audit_picture
from kvar.utils.atomic_files import atomic_write

__all__ = ["AuditReport"]


@dataclass(frozen=True)
class AuditReport(AuditFindings):
    """What an audit found. In a notebook it shows itself as the page that `save` writes.

    See `AuditFindings` for its attributes: `rows`, `recommendation`, `table` and the rest.
    """

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the page as HTML, the table as CSV, everything as JSON, and the main picture as PNG.

        Parameters
        ----------
        folder : path
            Where; made if need be.

        Returns
        -------
        Path
            The folder.
        """
        folder = Path(folder)
        with atomic_write(folder / "audit.html") as temporary:
            temporary.write_text(page(self), encoding="utf-8")
        with atomic_write(folder / "audit.csv") as temporary:
            self.table.write_csv(temporary)
        with atomic_write(folder / "audit.json") as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        plotting.save(audit_picture(self), folder / "audit.png")
        return folder

    def _repr_html_(self) -> str:
        return fragment(self)

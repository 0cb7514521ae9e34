"""Logs of rollouts on disk, whoever wrote them.

A log is one or more tables (Parquet, CSV, JSON Lines; the text ones plain, gzip or zstd), recognised by what is in the
files. `open_table` finds out what a file is and hands out its columns piece by piece, `map_columns` finds which column
is what, `clean` turns cells into numbers and counts what it cannot use, and `read_log` puts the pieces together.
"""

from kvar.readers.log import RolloutLog, layout_names, read_log
from kvar.readers.reading_notes import ReadingNotes

__all__ = ["ReadingNotes", "RolloutLog", "layout_names", "read_log"]

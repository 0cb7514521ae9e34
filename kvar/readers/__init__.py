"""Logs of rollouts on disk, from any trainer.

A log is one or more tables (Parquet, CSV, JSON Lines; text also as gzip or zstd), recognised by the content of the
files. `open_table` recognises a file and reads its columns piece by piece, `map_columns` finds the step, the prompt and
the reward among them, `parse_rows` turns cells into numbers and counts what it cannot use, `settle` finds out what the
rows mean, and `read_log` combines these.
"""

from kvar.readers.addresses import is_address
from kvar.readers.layouts import layout_names
from kvar.readers.log import RolloutLog, read_log
from kvar.readers.reading_notes import ReadingNotes
from kvar.readers.table_file import MAX_UNPACKED

__all__ = ["MAX_UNPACKED", "ReadingNotes", "RolloutLog", "is_address", "layout_names", "read_log"]

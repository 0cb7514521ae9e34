"""What objects show of themselves at a Python prompt: sentences and short tables in plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

__all__ = ["TABLE", "text_lines", "text_table"]

# Where the rows of a report are, for `text_table`.
TABLE = ".table, or .table.to_pandas()"
_WIDTH = 110


def text_lines(sentences: Iterable[str], mark: str = "") -> list[str]:
    """Sentences, each folded to a readable width behind a mark."""
    return [
        textwrap.fill(sentence, _WIDTH, initial_indent=mark, subsequent_indent=" " * len(mark))
        for sentence in sentences
    ]


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], most: int = 6, rest: str = "") -> list[str]:
    """Lines of a table whose first column is flush left and the others right; `rest` says where further rows are."""
    widths = [max(map(len, column)) for column in zip(heads, *rows[:most], strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (heads, *rows[:most])
    ]
    return lines + ([f"... {len(rows) - most} more: {rest}"] if len(rows) > most else [])

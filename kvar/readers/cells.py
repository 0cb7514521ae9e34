"""Lists and objects in the cells of a table, as they are or as text."""

from __future__ import annotations

import ast
import json

__all__ = ["as_list", "as_value", "is_message", "is_numbers"]

# Text of at most so many characters is tried as a literal of Python, whose parser is slow and takes much memory.
_LONGEST_LITERAL = 2**20


def as_value(cell):
    """The list or object in a cell, also as JSON, as Python or as NumPy prints it; of anything else, the cell."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return cell
    for parse in (json.loads, _printed_numbers, _literal):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, (list, dict)) else cell
    return cell


def as_list(cell) -> list | None:
    """The list that a cell holds, or None."""
    value = as_value(cell)
    return value if isinstance(value, list) else None


def is_numbers(cell) -> bool:
    """Whether a cell holds a list with numbers."""
    return any(isinstance(element, (int, float)) for element in as_list(cell) or [])


def is_message(value) -> bool:
    """Whether this is one message of a conversation."""
    return isinstance(value, dict) and not {"role", "content"}.isdisjoint(value)


def _printed_numbers(text: str) -> list[float]:
    return [float(word) for word in text[1:-1].replace(",", " ").split()]


def _literal(text: str):
    if len(text) > _LONGEST_LITERAL:
        raise ValueError("long")
    value = ast.literal_eval(text)
    return list(value) if isinstance(value, tuple) else value

"""Settings that are JSON objects: text on a command line, a mapping in YAML and in Python."""

from __future__ import annotations

import contextlib
import json

__all__ = ["json_object"]


def json_object(value, name: str, example: str) -> dict:
    """The parameters that `value` holds, as a dict; None and empty text hold none."""
    if value is None or value == "":
        return {}
    found = value
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            found = json.loads(value)
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a JSON object, such as '{example}', got {value!r:.80}")
    return found

"""Plain data on disk: arrays as safetensors, everything else as JSON in the same file's header."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kvar.files import whole_file

__all__ = ["load_state", "save_state"]

_HEADER = "kvar"


def save_state(state: dict, path: str | os.PathLike) -> Path:
    """Write nested dicts of numbers, strings, lists and arrays.

    Parameters
    ----------
    state : dict
        What to write; keys are strings.
    path : path
        Where; the file appears whole or not at all.

    Returns
    -------
    Path
        The file.
    """
    tensors: dict[str, np.ndarray] = {}

    def plain(value, place):
        if isinstance(value, dict):
            return {key: plain(entry, f"{place}/{key}") for key, entry in value.items()}
        if isinstance(value, np.ndarray):
            tensors[place] = np.ascontiguousarray(value)
            return {_HEADER: place}
        return value

    header = json.dumps(plain(state, ""))
    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata={_HEADER: header})
    return Path(path)


def load_state(path: str | os.PathLike) -> dict:
    """Read what `save_state` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        Equal to what was saved.

    Raises
    ------
    ValueError
        If the file is damaged or holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = (file.metadata() or {}).get(_HEADER)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable state file: {error}") from None
    if header is None:
        raise ValueError(f"{path} holds tensors but no kvar state")

    def restored(value):
        if isinstance(value, dict):
            return tensors[value[_HEADER]] if set(value) == {_HEADER} else {k: restored(v) for k, v in value.items()}
        return value

    return restored(json.loads(header))

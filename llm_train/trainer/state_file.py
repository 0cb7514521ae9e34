"""Plain data on disk: arrays as safetensors, everything else as JSON in the same file's header."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from kvar.utils.atomic_files import atomic_write

__all__ = ["load_state", "save_state"]

_HEADER, _DIGEST = "kvar", "blake2b"


def save_state(state: dict, path: str | os.PathLike) -> Path:
    """Write nested dicts of numbers, strings, lists and arrays."""
    tensors: dict[str, np.ndarray] = {}

    def plain(value, place):
        if isinstance(value, dict):
            return {key: plain(entry, f"{place}/{key}") for key, entry in value.items()}
        if isinstance(value, np.ndarray):
            tensors[place] = np.ascontiguousarray(value)
            return {_HEADER: place}
        return value

    header = json.dumps(plain(state, ""))
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_HEADER: header, _DIGEST: _digest(header, tensors)})
    return Path(path)


def _digest(header: str, tensors: dict[str, np.ndarray]) -> str:
    """Of all that is in the file, so that a flipped bit is not taken for a number."""
    digest = hashlib.blake2b(header.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def load_state(path: str | os.PathLike) -> dict:
    """Read what `save_state` wrote."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable state file: {error}") from None
    if _HEADER not in metadata:
        raise ValueError(f"{path} holds tensors but no kvar state")
    header = metadata[_HEADER]
    if metadata.get(_DIGEST) != _digest(header, tensors):
        raise ValueError(f"{path} is a damaged state file: its content does not have the checksum that it names")

    def restored(value):
        if isinstance(value, dict):
            return tensors[value[_HEADER]] if set(value) == {_HEADER} else {k: restored(v) for k, v in value.items()}
        return value

    try:
        return restored(json.loads(header))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} holds a header that is no kvar state") from None

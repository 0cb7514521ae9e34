"""A baseline's state on disk: arrays as safetensors, everything else as JSON in the header of the same file."""

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
    """Write nested dicts (keys are strings) of numbers, strings, lists and arrays; the file appears complete."""
    tensors: dict[str, np.ndarray] = {}

    def without_arrays(value, name):
        if isinstance(value, dict):
            return {key: without_arrays(entry, f"{name}/{key}") for key, entry in value.items()}
        if isinstance(value, np.ndarray):
            tensors[name] = np.ascontiguousarray(value)
            return {_HEADER: name}
        return value

    header = json.dumps(without_arrays(state, ""))
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata={_HEADER: header, _DIGEST: _digest(header, tensors)})
    return Path(path)


def _digest(header: str, tensors: dict[str, np.ndarray]) -> str:
    """Checksum of the whole content, so that a flipped bit is not read as a number."""
    digest = hashlib.blake2b(header.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def load_state(path: str | os.PathLike) -> dict:
    """Read what `save_state` wrote; ValueError if it is damaged or another file."""
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable state file ({error}): use an undamaged copy") from None
    if _HEADER not in metadata:
        raise ValueError(f"{path} holds tensors but no kvar state: give a file that kvar wrote")
    header = metadata[_HEADER]
    if metadata.get(_DIGEST) != _digest(header, tensors):
        raise ValueError(f"{path} is a damaged state file, its checksum is wrong: use an undamaged copy")

    def with_arrays(value):
        if not isinstance(value, dict):
            return value
        return tensors[value[_HEADER]] if set(value) == {_HEADER} else {k: with_arrays(v) for k, v in value.items()}

    try:
        return with_arrays(json.loads(header))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} has a header that is no kvar state: use an undamaged copy") from None

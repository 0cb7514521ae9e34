"""The boundary between the caller's arrays and NumPy.

All state and all sums are in double precision on the host, for arrays of any library: rewards are a few numbers per
prompt, so a batch costs one transfer each way. The history then does not depend on the device of a run, and processes
that see the same rewards hold the same bits. Results have the library, the dtype and the device of the input. Other
libraries are reached through the array API standard, and only when one of their arrays arrives: ``import kvar`` imports
none of them.
"""

from __future__ import annotations

import numpy as np

__all__ = ["extended", "like", "require_one_library", "to_host"]

_NO_NUMBERS = (str, bytes, np.flexible, np.datetime64, np.timedelta64, complex, np.complexfloating)
_HOST_TYPES = (np.ndarray, np.generic, list, tuple, bool, int, float)


def _is_foreign(array) -> bool:
    """Whether this is an array of another library, and none that converts itself, as columns of tables do."""
    if isinstance(array, _HOST_TYPES):
        return False
    return hasattr(array, "__dlpack__") and not hasattr(array, "__arrow_c_array__")


def _standard(array):
    """The compatibility layer of the array API, needed only for arrays of other libraries than NumPy."""
    try:
        import array_api_compat
    except ImportError:
        raise ImportError(
            f"{type(array).__module__} arrays need array-api-compat: pip install array-api-compat"
        ) from None
    if not array_api_compat.is_array_api_obj(array):
        raise TypeError(f"expected an array, a tensor or a list of numbers, got {type(array).__name__}")
    return array_api_compat


def _on_host(array) -> np.ndarray:
    """A foreign array as a NumPy array of its own dtype; float formats that NumPy lacks become double."""
    standard = _standard(array)
    if type(array).__module__.partition(".")[0] == "torch":
        array = _plain_tensor(array)
    array = standard.to_device(array.detach() if hasattr(array, "detach") else array, "cpu")
    xp = standard.array_namespace(array)
    if xp.isdtype(array.dtype, "real floating"):
        array = xp.astype(array, xp.float64)
    return np.from_dlpack(array)


def _plain_tensor(tensor):
    """The tensor, if its numbers lie in memory one after the other; TypeError for one that has none, or not so."""
    kinds = {
        "meta": (tensor.is_meta, "it has a shape but no numbers"),
        "nested": (tensor.is_nested, "pad it with NaN by torch.nested.to_padded_tensor"),
        "sparse": (not tensor.is_nested and str(tensor.layout) != "torch.strided", "pass tensor.to_dense()"),
        "quantized": (tensor.is_quantized, "pass tensor.dequantize()"),
        "conjugate": (tensor.is_conj(), "its numbers are complex; pass its real part"),
    }
    for kind, (found, remedy) in kinds.items():
        if found:
            raise TypeError(f"expected a dense tensor of real numbers, got a {kind} one: {remedy}")
    return tensor.resolve_neg()


def to_host(array, name: str = "array") -> np.ndarray:
    """Copy numbers to the host in double precision."""
    host = _on_host(array) if _is_foreign(array) else array
    if isinstance(host, np.ma.MaskedArray):
        host = np.ma.filled(host.astype(np.float64), np.nan)
    try:
        host = np.asarray(host)
        # NumPy would convert strings, dates and complex numbers too, but hardly to what was meant.
        kinds = set(map(type, host.flat)) if host.dtype.kind == "O" else {host.dtype.type}
        strange = [kind.__name__ for kind in kinds if issubclass(kind, _NO_NUMBERS)]
        if not strange:
            return host.astype(np.float64, copy=False)
        problem = f"got {strange[0]}"
    except (TypeError, ValueError, OverflowError) as error:
        problem = str(error)
    raise TypeError(f"{name} must hold real numbers in a rectangular shape: {problem}")


def like(values: np.ndarray, reference):
    """Values as an array in the library, dtype and device of a reference."""
    # Always a copy: values may be a view of the caller's own columns, or one number broadcast over a row.
    if not _is_foreign(reference):
        dtype = getattr(reference, "dtype", None)
        if not (isinstance(dtype, np.dtype) and np.issubdtype(dtype, np.floating)):
            return np.array(values, dtype=np.float64)
        _check_fit(values, np.finfo(dtype).max, dtype)
        return np.array(values, dtype=dtype)
    standard = _standard(reference)
    xp = standard.array_namespace(reference)
    if not xp.isdtype(reference.dtype, "real floating"):
        return xp.asarray(np.array(values), dtype=xp.float64, device=standard.device(reference))
    _check_fit(values, xp.finfo(reference.dtype).max, reference.dtype)
    return xp.asarray(np.array(values), dtype=reference.dtype, device=standard.device(reference))


def _check_fit(values: np.ndarray, largest: float, dtype) -> None:
    beyond = np.abs(values) > largest
    if beyond.any():
        raise ValueError(f"{values[beyond][0]:g} is beyond the largest number of {dtype}; pass rewards in a wider one")


def to_list(array) -> list:
    """The entries of any one-dimensional array or sequence as Python objects."""
    if isinstance(array, (list, tuple)):
        return list(array)
    return (_on_host(array) if _is_foreign(array) else np.asarray(array)).tolist()


def require_one_library(**arrays) -> None:
    """Refuse a call that mixes arrays of several libraries."""
    libraries = {
        name: type(array).__module__.partition(".")[0]
        for name, array in arrays.items()
        if _is_foreign(array) or isinstance(array, np.ndarray)
    }
    if len(set(libraries.values())) > 1:
        found = ", ".join(f"{name} from {library}" for name, library in libraries.items())
        raise TypeError(f"arrays of different libraries in one call ({found}); convert them to one")


def extended(array: np.ndarray, length: int, fill: float = 0.0, axis: int = -1) -> np.ndarray:
    """An array made at least so long along an axis."""
    shape = list(array.shape)
    if length <= shape[axis]:
        return array
    before = tuple(slice(n) for n in shape)
    shape[axis] = length
    # Zeros that are never written take no memory.
    longer = np.full(shape, fill, dtype=array.dtype) if fill else np.zeros(shape, dtype=array.dtype)
    longer[before] = array
    return longer

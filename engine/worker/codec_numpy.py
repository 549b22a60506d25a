"""NumPy arrays and scalars, by dtype, shape and bytes. NumPy itself is never imported for it.

Rule 1: a dtype goes in by its description only if that description leads back to it; arrays
        of objects, of masked values and of unknown dtypes are pickled.
Rule 2: the shape is checked against the bytes that are there before anything is allocated.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from engine.worker.codec_walk import Rule


def _describe(dtype: Any) -> Any:
    """A plain value from which `_dtype` makes the same dtype; NotImplemented if there is none."""
    if dtype.hasobject:
        return NotImplemented
    try:
        described = dtype.str if dtype.names is None else _lib_format().dtype_to_descr(dtype)
        return described if _dtype(described) == dtype else NotImplemented
    except (TypeError, ValueError):
        return NotImplemented


def _lib_format() -> Any:
    import numpy.lib.format as lib_format

    return lib_format


def _dtype(described: Any) -> Any:
    import numpy as np

    if isinstance(described, str):
        if described[:1] not in "<>|=" or described[1:2] == "a":
            raise ValueError(f"{described!r} is not a dtype as NumPy writes it")
        return np.dtype(described)
    return _lib_format().descr_to_dtype(described)


def _dump_array(v: Any) -> Any:
    described = _describe(v.dtype)
    if described is NotImplemented:
        return NotImplemented
    order = "F" if v.flags.f_contiguous and not v.flags.c_contiguous else "C"
    return [described, list(v.shape), order, v.tobytes(order)]


def _load_array(parts: list[Any]) -> Any:
    import numpy as np

    described, shape, order, data = parts
    dtype = _dtype(described)
    if dtype.itemsize == 0 or 0 in shape:
        if len(data) or (0 not in shape and any(n > 1 << 20 for n in shape)):
            raise ValueError("the shape does not fit the bytes")
        return np.zeros(shape, dtype, order)
    # A bytearray, because an array over bytes could not be written to.
    return np.frombuffer(bytearray(data), dtype).reshape(shape, order=order)


def _dump_scalar(v: Any) -> Any:
    if isinstance(v, str | bytes):
        return [type(v).__name__, v[:]]
    described = _describe(v.dtype)
    if described is NotImplemented or v.dtype.names is not None:
        return NotImplemented
    return [described, v.tobytes()]


def _load_scalar(parts: list[Any]) -> Any:
    import numpy as np

    described, data = parts
    if described in ("str_", "bytes_"):
        return getattr(np, described)(data)
    return np.frombuffer(data, _dtype(described))[0]


ARRAY: Final = Rule(60, _dump_array, _load_array)
SCALAR: Final = Rule(61, _dump_scalar, _load_scalar)


def numpy_rule(t: type) -> Rule | None:
    """The rule for NumPy's own types; None for all others."""
    np = sys.modules.get("numpy")
    if np is None:
        return None
    if t is np.ndarray:
        return ARRAY
    own = (t.__module__ or "").partition(".")[0] == "numpy"
    return SCALAR if own and issubclass(t, np.generic) else None

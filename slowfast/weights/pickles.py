"""Pickles of numpy arrays as data: nothing that a pickle names is ever called.

Every global in the file is answered by a stand-in of this module or refused, so not even numpy's
own reconstruction runs on what a stranger wrote.
"""

from __future__ import annotations

import pickle
import re
from typing import Any, BinaryIO

import numpy as np

# Kinds and sizes of numbers that may lie in an array: f4, i8, u1, b1, ...
_NUMBER = re.compile(r"[fiub]\d{1,2}")


class UnsafePickle(pickle.UnpicklingError):
    """The pickle asks for something that is neither a number, a text, a container nor an array."""


class _StandIn:
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:  # else a pickle could set attributes
        raise UnsafePickle(f"{type(self).__name__} with a state")


class _Bytes(_StandIn):
    """For `_codecs.encode`, with which Python 3 writes bytes for Python 2."""

    def __new__(cls, text: str, encoding: str = "latin1") -> bytes:
        return text.encode("latin1")


class _DType(_StandIn):
    """For `numpy.dtype`: a kind of number, a size and a byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        if not isinstance(self.code, str) or not _NUMBER.fullmatch(self.code):
            raise UnsafePickle(f"an array of {self.code!r}")
        order = self.order if self.order in ("<", ">") else "="
        return np.dtype(self.code).newbyteorder(order)


class _Array(_StandIn):
    """For `numpy.ndarray`; `value` is the array once the pickle has given its bytes."""

    __slots__ = ("value",)

    def __init__(self, *_: Any) -> None:
        self.value = None

    def __setstate__(self, state: tuple) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        self.value = _from_bytes(data, dtype, shape, "F" if is_fortran else "C")


class _Scalar(_Array):
    """For `numpy.core.multiarray.scalar`."""

    def __init__(self, dtype: _DType, data: bytes = b"") -> None:
        self.value = _from_bytes(data, dtype, (), "C")


class _Buffer(_Array):
    """For `numpy.core.numeric._frombuffer`, the form of pickle protocol 5."""

    def __init__(self, data: bytes, dtype: _DType, shape: Any, order: str, axes: Any = None):
        self.value = _from_bytes(data, dtype, shape, "C" if order == "K" else order)
        if axes is not None:
            self.value = self.value.transpose(axes)


def _from_bytes(data: bytes | str, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    if isinstance(data, str):  # a byte string of Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, _DType):
        raise UnsafePickle("an array of objects")
    flat = np.frombuffer(data, dtype.numpy())
    return flat.reshape(shape, order=order).astype(flat.dtype.newbyteorder("="))


_NUMPY = ("numpy.core.", "numpy._core.")
_STAND_INS: dict[str, type] = {
    "_codecs.encode": _Bytes,
    "numpy.dtype": _DType,
    "numpy.ndarray": _Array,
    "collections.OrderedDict": dict,
    **{f"{core}multiarray._reconstruct": _Array for core in _NUMPY},
    **{f"{core}multiarray.scalar": _Scalar for core in _NUMPY},
    **{f"{core}numeric._frombuffer": _Buffer for core in _NUMPY},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        full = f"{module}.{name}"
        if full not in _STAND_INS:
            raise UnsafePickle(full)
        return _STAND_INS[full]


def load_arrays(file: BinaryIO) -> Any:
    """The next pickle in `file`: builtin containers, numbers, text and writable numpy arrays.

    Texts of Python 2 are read as latin-1.  Raises UnsafePickle, a pickle.UnpicklingError, naming
    what the pickle asks for beyond that; a damaged one raises whatever pickle and numpy raise.
    """
    return _arrays_in(_Unpickler(file, encoding="latin1").load())


def _arrays_in(content: Any) -> Any:
    if isinstance(content, _Array):
        if content.value is None:
            raise UnsafePickle("an array without numbers")
        return content.value
    if isinstance(content, dict):
        return {key: _arrays_in(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_arrays_in(value) for value in content]
    return content

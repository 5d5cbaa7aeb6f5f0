"""Pickled dicts of numpy arrays, read without running anything that they name.

Detectron2 publishes its weights as pickles. Unpickling calls whatever function a file names: here
the only names that mean anything are those with which numpy writes arrays, and each of them stands
for a class or a function of this module, never for numpy's own.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weaksup.errors import DataError

# Booleans and plain numbers: no objects, no records.
PLAIN = re.compile(r"b1|[iu][1248]|f[248]")


class _Dtype:
    """A dtype of plain numbers: its name comes first, its byte order with the state."""

    def __init__(self, name: str, *_: object) -> None:
        if not isinstance(name, str) or not PLAIN.fullmatch(name):
            raise pickle.UnpicklingError(f"arrays of {name!r} are not read")
        self.value = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *_ = state
        self.value = self.value.newbyteorder(order)


class _Array:
    """An array: numpy makes an empty one first and fills it with its state."""

    def __init__(self) -> None:
        self.value: npt.NDArray[Any] = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, columns_first, raw = state
        self.value = _decode(dtype, raw, shape=shape, order="F" if columns_first else "C")


def _decode(
    dtype: _Dtype, raw: bytes, *, shape: tuple[int, ...], order: Any = "C"
) -> npt.NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
        raise pickle.UnpicklingError("an array does not consist of a dtype and bytes")
    if math.prod(shape) * dtype.value.itemsize != len(raw):
        raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
    values = np.frombuffer(raw, dtype=dtype.value).reshape(shape, order=order)
    # A copy in this machine's byte order: the bytes themselves cannot be written to.
    return values.astype(dtype.value.newbyteorder("="))


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return _decode(dtype, raw, shape=())[()]


def _encode(text: str, encoding: str) -> bytes:
    """How protocols 0 to 2 write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r} are not read")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocols 0 to 2 write b"": a call without arguments."""
    return b""


NAMES: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    # The second name is numpy 2's.
    **{
        (f"{core}.multiarray", name): value
        for core in ("numpy.core", "numpy._core")
        for name, value in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is no part of an array"
            ) from None


def read_arrays(path: Path) -> dict[str, Any]:
    """Read a pickled dict whose values are arrays, plain values, or dicts and lists of them.

    Args:
        path: a pickle of any protocol, arrays of protocols 0 to 4.

    Returns:
        The dict, with arrays in place of what stood for them.

    Raises:
        DataError: if the file is damaged, names anything but numpy's arrays, or holds no dict.
    """
    try:
        with path.open("rb") as file:
            content = _plain(_Unpickler(file, encoding="latin1").load())
    except Exception as error:  # a damaged file stops the reader anywhere, with any exception
        raise DataError(
            f"{path} cannot be read as pickled arrays: {error or type(error).__name__}",
            "other pickles are not opened, for they may run code; torch.save(model.state_dict(), "
            "'FILE.pth') writes weights that can be read",
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dict of arrays")
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value

"""Reading pickles of numpy arrays without running anything that they contain.

A pickle is a program: it names functions and calls them. detectron2's model zoo is published in this form, so it must
be read, but never by a plain unpickler. Here a pickle may name nothing but what rebuilds an array, and gets a stand-in
for each of these names: numpy's own reconstruction functions, which trust their arguments, are never called.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastmrcnn.errors import UserError, first_line

__all__ = ["read_pickle"]

_NUMBERS = "biuf"  # numpy's kinds of booleans, integers and floating-point numbers
# Bytes of arrays, for each byte of the file. A pickle can name the same bytes again and again, and each time a new
# array is made of them; in an honest one no array is larger than its text, and some take two steps.
_MOST_GROWTH = 4


def read_pickle(path: Path) -> Any:
    """The content of a pickle made of dicts, lists, tuples, strings, numbers, numpy arrays and numpy numbers.

    Pickles of Python 2 are understood, as are those of numpy before and after 2.0. Arrays come back writable and in the
    machine's byte order.

    Raises:
        UserError: the file cannot be read, is no pickle, is cut short, unfolds to much more than its size, or refers to
            anything else. Nothing that it refers to has been imported or called then.
    """
    try:
        with path.open("rb") as file:
            return _finished(_ArrayUnpickler(file).load())
    except MemoryError:
        raise UserError(
            f"{path}: expected a pickle of plain numpy arrays; it needs more memory than there is"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except _RefusedError as error:
        raise UserError(f"{path}: expected a pickle of plain numpy arrays; it refers to {error}, refused") from None
    except Exception as error:  # a damaged pickle ends in any of a dozen types
        raise UserError(
            f"{path}: expected a pickle of plain numpy arrays; it is damaged: {first_line(error)}"
        ) from None


class _RefusedError(pickle.UnpicklingError):
    pass


_Spend = Callable[[int], None]  # takes the bytes of a new object off what may still be made, or raises


class _Bounded:
    """A file of which nobody is given, or makes room for, more bytes than it has."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size = file, os.fstat(file.fileno()).st_size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > self.size - self.file.tell():
            raise EOFError("it is cut short")
        return self.file.read(count)


# The unpickler in Python: the one in C makes room for as many remembered objects as a few bytes of a pickle say that
# there will be. A file of weights has some thousand instructions, so that its speed does not matter.
class _ArrayUnpickler(pickle._Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        bounded = _Bounded(file)
        super().__init__(bounded, encoding="latin1")
        self._unspent = _MOST_GROWTH * bounded.size

    def find_class(self, module: str, name: str) -> Any:
        make = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if make is None:
            raise _RefusedError(f"{module}.{name}")
        return make(self._spend)

    def _spend(self, size: int) -> None:
        self._unspent -= size
        if self._unspent < 0:
            raise ValueError("it unfolds to many times its size")


# The functions below are made anew for each name in a pickle: attributes that a hostile one sets on them die with it.


def _dtype_stand_in(_: _Spend) -> Callable[..., _DType]:
    return lambda name, *_: _DType(name)


def _reconstruct_stand_in(spend: _Spend) -> Callable[..., _Array]:
    return lambda *_: _Array(spend)


def _frombuffer_stand_in(spend: _Spend) -> Callable[..., NDArray[Any]]:
    """How numpy writes arrays in protocol 5."""
    return lambda data, dtype, shape, order: _from_bytes(data, dtype, spend).reshape(shape, order=order)


def _scalar_stand_in(spend: _Spend) -> Callable[..., Any]:
    return lambda dtype, data: _from_bytes(data, dtype, spend)[0]


def _ordered_dict_stand_in(spend: _Spend) -> Callable[..., dict[Any, Any]]:
    def ordered_dict(items: Any = ()) -> dict[Any, Any]:
        spend(len(items))
        return dict(items)

    return ordered_dict


def _encode_stand_in(spend: _Spend) -> Callable[..., bytes]:
    """How Python 3 writes bytes in the protocols of Python 2."""

    def encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise _RefusedError(f"the encoding {encoding!r}")
        spend(len(text))
        return text.encode("latin1")

    return encode


def _bytes_stand_in(_: _Spend) -> Callable[[], bytes]:
    """How Python 3 writes no bytes at all in them."""
    return lambda: b""


_STAND_INS: dict[tuple[str, str], Callable[[_Spend], Any]] = {
    ("numpy", "dtype"): _dtype_stand_in,
    ("numpy", "ndarray"): lambda _: None,  # only ever an argument of _reconstruct
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct_stand_in,
    ("numpy.core.multiarray", "scalar"): _scalar_stand_in,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer_stand_in,
    ("collections", "OrderedDict"): _ordered_dict_stand_in,
    ("_codecs", "encode"): _encode_stand_in,
    ("__builtin__", "bytes"): _bytes_stand_in,
}


class _DType:
    """A dtype in the making: first its name, then, as state, its byte order."""

    def __init__(self, name: str) -> None:
        self.name, self.byte_order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.byte_order = {"<": "<", ">": ">"}.get(state[1], "=")

    def finished(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = np.dtype(str(self.name)).newbyteorder(self.byte_order)  # type: ignore[arg-type]
        if dtype.kind not in _NUMBERS:
            raise _RefusedError(f"an array of {dtype}")
        return dtype


class _Array:
    """An array in the making: everything about it comes as state."""

    value: NDArray[Any]

    def __init__(self, spend: _Spend) -> None:
        self._spend = spend

    def __setstate__(self, state: tuple[Any, tuple[int, ...], _DType, bool, str | bytes]) -> None:
        _, shape, dtype, is_fortran, data = state
        self.value = _from_bytes(data, dtype, self._spend).reshape(shape, order="F" if is_fortran else "C")


def _from_bytes(data: str | bytes | bytearray, dtype: _DType, spend: _Spend) -> NDArray[Any]:
    spend(len(data))
    raw = data.encode("latin1") if isinstance(data, str) else data  # Python 2 had one type for both
    values = np.frombuffer(raw, dtype.finished())
    return values.astype(values.dtype.newbyteorder("="))  # a copy that may be written to


def _finished(value: Any) -> Any:
    """`value` with the arrays in place of their makings."""
    done: dict[int, Any] = {}  # by identity: a few bytes can hold a list of lists of lists .. that are all the same one

    def finish(value: Any) -> Any:
        if isinstance(value, _Array):
            return value.value
        if not isinstance(value, dict | list | tuple):
            return value
        if id(value) not in done:
            if isinstance(value, dict):
                done[id(value)] = {key: finish(item) for key, item in value.items()}
            else:
                done[id(value)] = type(value)(finish(item) for item in value)
        return done[id(value)]

    return finish(value)

"""PTX types and the bits of registers.

The value of a register is a numpy array with one element per lane, or a numpy scalar where all lanes hold the same. A
register holds bits: whoever reads it says which type it sees in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

Value = np.ndarray | np.generic

_KINDS = {"b": "u", "u": "u", "s": "i", "f": "f"}
_HALVES = {"f16x2": 32, "bf16": 16, "bf16x2": 32}


class Type(NamedTuple):
    name: str
    bits: int
    dtype: np.dtype  # what arithmetic sees; the raw bits for the types that numpy does not know
    raw: np.dtype  # unsigned integers of the same width

    @property
    def is_float(self) -> bool:
        return "f" in self.name

    @property
    def is_signed(self) -> bool:
        return self.name[0] == "s"

    @property
    def is_pair(self) -> bool:
        return self.name.endswith("x2")

    @property
    def needs_unpacking(self) -> bool:
        """Arithmetic in float32, for numpy has no such type."""
        return self.name in _HALVES


@cache
def ptx_type(name: str) -> Type:
    if name == "pred":
        return Type(name, 1, np.dtype(bool), np.dtype(bool))
    bits = _HALVES.get(name) or int(name[1:])
    raw = np.dtype(f"u{bits // 8}")
    return Type(name, bits, raw if name in _HALVES else np.dtype(f"{_KINDS[name[0]]}{bits // 8}"), raw)


def is_type(modifier: str) -> bool:
    return modifier == "pred" or modifier in _HALVES or re.fullmatch(r"[busf](8|16|32|64)", modifier) is not None


def view(value: Value, dtype: np.dtype) -> Value:
    return value if value.dtype is dtype else value.view(dtype)


def resize(value: Value, dtype: np.dtype, signed: bool) -> Value:
    """Zero- or sign-extends, or truncates, to the width of the unsigned integer type `dtype`."""
    if value.dtype.itemsize == dtype.itemsize:
        return view(value, dtype)
    kind = "i" if signed else "u"
    return value.view(np.dtype(f"{kind}{value.dtype.itemsize}")).astype(dtype)


def unpack(value: Value, type: Type) -> np.ndarray:
    """Raw bits to float32; pairs become the last axis."""
    halves = np.atleast_1d(value).view(np.uint16)
    if type.is_pair:
        halves = halves.reshape(-1, 2)
    if type.name.startswith("b"):
        return (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return halves.view(np.float16).astype(np.float32)


def pack(numbers: np.ndarray, type: Type) -> Value:
    """float32 (or float64) to raw bits, rounded to nearest even."""
    halves = bfloat16_bits(numbers) if type.name.startswith("b") else numbers.astype(np.float16).view(np.uint16)
    bits = np.ascontiguousarray(halves).view(type.raw).reshape(-1)
    return bits[0] if len(bits) == 1 else bits


def bfloat16_bits(numbers: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(numbers), np.uint32(0x7FFF), rounded).astype(np.uint16)


def lifted(function: Callable[..., Value], type: Type) -> Callable[..., Value]:
    """`function` over numbers as a function over values of `type`."""
    if not type.needs_unpacking:
        return function
    return lambda *values: pack(function(*(unpack(value, type) for value in values)), type)


def immediate(text: str, type: Type) -> np.generic:
    """A literal, as a scalar of type.dtype."""
    if text[:2] in ("0f", "0F"):
        bits = np.uint32(int(text[2:], 16))
    elif text[:2] in ("0d", "0D"):
        bits = np.uint64(int(text[2:], 16))
    elif type.name == "pred":
        return np.bool_(int(text))
    else:
        number = int(text.rstrip("U"), 8) if re.fullmatch(r"0[0-7]+U?", text) else int(text.rstrip("U"), 0)
        bits = type.raw.type(number & ((1 << type.bits) - 1))
    return bits.view(type.dtype)

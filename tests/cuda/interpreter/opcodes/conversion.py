"""cvt: between integers, floating-point types and their rounded forms; cvta: between address spaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..lanes import Group
from ..memory import LOCAL_WINDOW, SHARED_WINDOW
from ..operands import Operands, Step, check_modifiers
from ..ptx import Instruction
from ..values import Type, Value, pack, ptx_type, unpack
from .arithmetic import flushed, round_towards, types_of, wider
from .table import opcode

_TO_INTEGRAL = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
_ROUNDING = ("rn", "rz", "rm", "rp")
_FLOAT32 = ptx_type("f32")


@opcode("cvt")
def convert(operands: Operands, instruction: Instruction) -> Step:
    to, source = types_of(instruction)
    check_modifiers(instruction, {"ftz", "sat", to.name, source.name, *_TO_INTEGRAL, *_ROUNDING})
    write = operands.write(instruction.operands[0], to)
    reads = [operands.read(operand, source) for operand in instruction.operands[1:]]
    if to.is_pair:  # cvt.rn.f16x2.f32 d, high, low
        high, low = reads
        return lambda group: write(group, pack(np.stack(np.broadcast_arrays(low(group), high(group)), -1), to))
    (read,) = reads
    change = conversion(to, source, instruction.modifiers)
    return lambda group: write(group, change(read(group)))


def conversion(to: Type, source: Type, modifiers: tuple[str, ...]) -> Callable[[Value], Value]:
    to_integral = next((_TO_INTEGRAL[m] for m in modifiers if m in _TO_INTEGRAL), None)
    if source.needs_unpacking:
        inner = conversion(to, _FLOAT32, modifiers) if to.name != "f32" else lambda value: value
        return lambda value: inner(_like(value, unpack(value, source)))
    if to.needs_unpacking:
        return lambda value: pack(np.atleast_1d(value), to)
    if to.is_float and source.is_float:
        return _between_floats(to, source, modifiers, to_integral)
    if source.is_float:
        return lambda value: saturated_integer(to_integral(value), value, to, source)
    if to.is_float:
        return _from_integer(to, modifiers)
    if "sat" in modifiers:
        return lambda value: _saturate(value, to)
    return lambda value: value.astype(to.dtype)


def _like(value: Value, numbers: np.ndarray) -> Value:
    return numbers if value.ndim else numbers[0]


def _between_floats(
    to: Type, source: Type, modifiers: tuple[str, ...], to_integral: np.ufunc | None
) -> Callable[[Value], Value]:
    mode = next((m for m in modifiers if m in _ROUNDING), "rn")

    def change(value: Value) -> Value:
        if "ftz" in modifiers and source.name == "f32":
            value = flushed(value)
        if to_integral:
            value = to_integral(value)
        value = round_towards(value, to.dtype, mode)
        if "sat" in modifiers:
            value = np.clip(np.nan_to_num(value), to.dtype.type(0), to.dtype.type(1))
        return value

    return change


def _from_integer(to: Type, modifiers: tuple[str, ...]) -> Callable[[Value], Value]:
    mode = next((m for m in modifiers if m in _ROUNDING), "rn")
    if mode == "rn":
        return lambda value: value.astype(to.dtype)
    exact = wider(to) if to.name != "f32" else np.dtype(np.longdouble)
    return lambda value: round_towards(value.astype(exact), to.dtype, mode)


def saturated_integer(rounded: Value, value: Value, to: Type, source: Type) -> Value:
    """Out-of-range numbers saturate. NaN becomes 0, or the smallest integer where either type has 64 bits."""
    limits = np.iinfo(to.dtype)
    rounded = rounded.astype(np.float64)
    inside = np.clip(np.nan_to_num(rounded), float(limits.min), np.nextafter(float(limits.max) + 1, 0))
    result = np.where(rounded >= float(limits.max), to.dtype.type(limits.max), inside.astype(to.dtype))
    nan = to.raw.type(1 << (to.bits - 1) if 64 in (to.bits, source.bits) else 0).view(to.dtype)
    return np.where(np.isnan(value), nan, result)


def _saturate(value: Value, to: Type) -> Value:
    limits, own = np.iinfo(to.dtype), np.iinfo(value.dtype)
    low, high = max(limits.min, own.min), min(limits.max, own.max)
    return np.clip(value, value.dtype.type(low), value.dtype.type(high)).astype(to.dtype)


@opcode("cvta")
def convert_address(operands: Operands, instruction: Instruction) -> Step:
    start = np.int64(0)
    if "shared" in instruction.modifiers:
        start = np.int64(SHARED_WINDOW)
    elif "local" in instruction.modifiers:
        start = np.int64(LOCAL_WINDOW)
    shift = -start if "to" in instruction.modifiers else start
    destination, source = instruction.operands
    read, write = operands.read(source, "s64"), operands.write(destination, "s64")

    def run(group: Group) -> None:
        write(group, read(group) + shift)

    return run

"""Arithmetic, comparison and selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import InterpreterError
from ..lanes import Group
from ..operands import Operands, Step, check_modifiers
from ..ptx import Instruction
from ..values import Type, Value, is_type, lifted, ptx_type, unpack
from .table import opcode

_ROUNDING = {"rn", "rz", "rm", "rp"}
_PRECISION = {"approx", "full"}  # executed exactly
_COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip
_COMBINE = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}


def types_of(instruction: Instruction) -> list[Type]:
    return [ptx_type(m) for m in instruction.modifiers if is_type(m)]


def step(
    operands: Operands, instruction: Instruction, function: Callable[..., Value], type: Type, result: Type | None = None
) -> Step:
    """destination = function(sources), all of one type."""
    write = operands.write(instruction.operands[0], result or type)
    reads = [operands.read(operand, type) for operand in instruction.operands[1:]]
    if len(reads) == 1:
        (read,) = reads
        return lambda group: write(group, function(read(group)))
    if len(reads) == 2:
        first, second = reads
        return lambda group: write(group, function(first(group), second(group)))
    return lambda group: write(group, function(*(read(group) for read in reads)))


def flushed(value: Value) -> Value:
    """Subnormal numbers become zeros of the same sign."""
    return np.where(np.abs(value) < np.finfo(value.dtype).tiny, np.copysign(value.dtype.type(0), value), value)


def wider(type: Type) -> np.dtype:
    """Holds products exactly, or nearly so for float64."""
    return np.dtype(np.longdouble if type.name == "f64" else np.float64)


def round_towards(exact: Value, dtype: np.dtype, mode: str) -> Value:
    """Rounds to a narrower floating type, in one of PTX's directions."""
    nearest = exact.astype(dtype)
    if mode == "rn":
        return nearest
    down = mode == "rm" if mode != "rz" else exact > 0
    below, above = np.nextafter(nearest, dtype.type(-np.inf)), np.nextafter(nearest, dtype.type(np.inf))
    return np.where(down, np.where(nearest > exact, below, nearest), np.where(nearest < exact, above, nearest))


def float_function(instruction: Instruction, type: Type, function: Callable[..., Value]) -> Callable[..., Value]:
    """`function` with the instruction's rounding, saturation and flushing."""
    modifiers = set(instruction.modifiers)
    mode = next(iter(modifiers & _ROUNDING), "rn")
    if mode != "rn":
        plain, wide = function, wider(type)

        def function(*values: Value) -> Value:
            return round_towards(plain(*(value.astype(wide) for value in values)), type.dtype, mode)

    function = lifted(function, type)
    if "ftz" in modifiers and type.name == "f32":
        exact = function

        def function(*values: Value) -> Value:
            return flushed(exact(*(flushed(value) for value in values)))

    if "sat" in modifiers:
        unclamped = function
        return lambda *values: np.clip(np.nan_to_num(unclamped(*values)), type.dtype.type(0), type.dtype.type(1))
    return function


def float_step(operands: Operands, instruction: Instruction, function: Callable[..., Value]) -> Step:
    type = ptx_type(instruction.type)
    check_modifiers(instruction, {instruction.type, "ftz", "sat", "NaN", "lo", *_ROUNDING, *_PRECISION})
    return step(operands, instruction, float_function(instruction, type, function), type)


@opcode("add", "sub")
def add(operands: Operands, instruction: Instruction) -> Step:
    function = np.add if instruction.opcode == "add" else np.subtract
    type = ptx_type(instruction.type)
    if type.is_float:
        return float_step(operands, instruction, function)
    if "cc" in instruction.modifiers:
        return with_carry(operands, instruction)
    check_modifiers(instruction, {instruction.type})
    return step(operands, instruction, function, type)


CARRY = "%carry"  # of the last sum or difference that kept it: numbers wider than a register take several instructions


@opcode("addc", "subc")
def with_carry(operands: Operands, instruction: Instruction) -> Step:
    """Adds or subtracts the carry as well (addc, subc), and keeps that of the result (.cc)."""
    check_modifiers(instruction, {instruction.type, "cc"})
    type = ptx_type(ptx_type(instruction.type).name.replace("s", "u"))
    adds, takes = instruction.opcode.startswith("add"), instruction.opcode.endswith("c")
    write, keeps = operands.write(instruction.operands[0], type), "cc" in instruction.modifiers
    first, second = (operands.read(operand, type) for operand in instruction.operands[1:])

    def run(group: Group) -> None:
        x, y = first(group), second(group)
        carry = group.registers[CARRY].astype(type.dtype) if takes else type.dtype.type(0)
        partial = x + y if adds else x - y
        result = partial + carry if adds else partial - carry
        if keeps:  # at most one of the two wraps around
            wraps = (partial < x) | (result < partial) if adds else (x < y) | (partial < carry)
            group.registers[CARRY] = np.asarray(wraps)
        write(group, result)

    return run


@opcode("mul", "mad", "mul24")
def multiply(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    if type.is_float:
        return (
            float_step(operands, instruction, np.multiply)
            if instruction.opcode == "mul"
            else fma(operands, instruction)
        )
    check_modifiers(instruction, {instruction.type, "lo", "hi", "wide"})
    result = ptx_type(f"{type.name[0]}{2 * type.bits}") if "wide" in instruction.modifiers else type
    product = _product(type, result, "hi" in instruction.modifiers)
    if instruction.opcode != "mad":
        return step(operands, instruction, product, type, result)
    write = operands.write(instruction.operands[0], result)
    first, second = (operands.read(operand, type) for operand in instruction.operands[1:3])
    third = operands.read(instruction.operands[3], result)
    return lambda group: write(group, product(first(group), second(group)) + third(group))


def _product(type: Type, result: Type, high: bool) -> Callable[[Value, Value], Value]:
    if high and type.bits == 64:
        return _high_signed if type.is_signed else _high_unsigned
    if high:
        wide = ptx_type(f"{type.name[0]}{2 * type.bits}").dtype
        shift = wide.type(type.bits)
        return lambda x, y: (x.astype(wide) * y.astype(wide) >> shift).astype(type.dtype)
    if result is not type:
        wide = result.dtype
        return lambda x, y: x.astype(wide) * y.astype(wide)
    return np.multiply


def _high_unsigned(x: Value, y: Value) -> Value:
    """The upper 64 of the 128 bits of a product, from products of halves."""
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    x0, x1, y0, y1 = x & low, x >> shift, y & low, y >> shift
    middle = x1 * y0 + (x0 * y0 >> shift)
    return x1 * y1 + (middle >> shift) + ((x0 * y1 + (middle & low)) >> shift)


def _high_signed(x: Value, y: Value) -> Value:
    high = _high_unsigned(x.view(np.uint64), y.view(np.uint64)).view(np.int64)
    return high - np.where(x < 0, y, np.int64(0)) - np.where(y < 0, x, np.int64(0))


@opcode("fma")
def fma(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    wide = wider(type)
    narrow = np.dtype(np.float32) if type.needs_unpacking else type.dtype
    mode = next((m for m in instruction.modifiers if m in _ROUNDING), "rn")

    def fused(x: Value, y: Value, z: Value) -> Value:
        return round_towards(x.astype(wide) * y.astype(wide) + z.astype(wide), narrow, mode)

    function = lifted(fused, type)
    check_modifiers(instruction, {instruction.type, "ftz", "sat", *_ROUNDING})
    saturate = [m for m in instruction.modifiers if m in ("ftz", "sat")]
    if saturate:
        raise InterpreterError(f"the interpreter does not know .{saturate[0]} of: {instruction}")
    return step(operands, instruction, function, type)


@opcode("div")
def divide(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    if type.is_float:
        return float_step(operands, instruction, np.divide)
    return step(operands, instruction, _truncated_quotient, type)


def _truncated_quotient(x: Value, y: Value) -> Value:
    """Integers; numpy's own division rounds down, PTX's towards zero."""
    return (x - np.fmod(x, y)) // y


@opcode("rem")
def remainder(operands: Operands, instruction: Instruction) -> Step:
    return step(operands, instruction, np.fmod, ptx_type(instruction.type))


@opcode("min", "max")
def extremum(operands: Operands, instruction: Instruction) -> Step:
    smaller = instruction.opcode == "min"
    type = ptx_type(instruction.type)
    if not type.is_float:
        check_modifiers(instruction, {instruction.type})
        return step(operands, instruction, np.minimum if smaller else np.maximum, type)
    if "NaN" in instruction.modifiers:
        return float_step(operands, instruction, np.minimum if smaller else np.maximum)
    return float_step(operands, instruction, np.fmin if smaller else np.fmax)


@opcode("neg", "abs")
def sign(operands: Operands, instruction: Instruction) -> Step:
    return float_or_integer(operands, instruction, np.negative if instruction.opcode == "neg" else np.abs)


def float_or_integer(operands: Operands, instruction: Instruction, function: Callable[..., Value]) -> Step:
    type = ptx_type(instruction.type)
    return float_step(operands, instruction, function) if type.is_float else step(operands, instruction, function, type)


@opcode("copysign")
def copysign(operands: Operands, instruction: Instruction) -> Step:
    return step(operands, instruction, lambda sign, size: np.copysign(size, sign), ptx_type(instruction.type))


def _reciprocal(x: Value) -> Value:
    return x.dtype.type(1) / x


_FUNCTIONS = {
    "rcp": _reciprocal,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: _reciprocal(np.sqrt(x)),
    "ex2": np.exp2,
    "lg2": np.log2,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
}


@opcode(*_FUNCTIONS)
def function(operands: Operands, instruction: Instruction) -> Step:
    return float_step(operands, instruction, _FUNCTIONS[instruction.opcode])


def comparison(name: str, type: Type) -> Callable[[Value, Value], Value]:
    """The unordered forms (ltu, ...) also hold where either number is NaN."""
    if name in ("num", "nan"):
        return lambda x, y: (np.isnan(x) | np.isnan(y)) == (name == "nan")
    compare = _COMPARE[name[:2]]
    if type.is_float and name == "ne":  # ordered: numpy's is true of NaN
        return lambda x, y: (x < y) | (x > y)
    if type.is_float and len(name) == 3:
        return lambda x, y: compare(x, y) | np.isnan(x) | np.isnan(y)
    return compare


@opcode("setp")
def set_predicate(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    name, *rest = [m for m in instruction.modifiers[:-1] if m != "ftz"]
    compare = comparison(name, type)
    if type.needs_unpacking:
        if type.is_pair:
            raise InterpreterError(f"the interpreter does not know: {instruction}")
        compare = _unpacked(compare, type)
    destination, _, complement = instruction.operands[0].partition("|")
    write = operands.write(destination, "pred")
    write_complement = operands.write(complement or "_", "pred")
    first, second = (operands.read(operand, type) for operand in instruction.operands[1:3])
    if not rest and not complement:
        return lambda group: write(group, compare(first(group), second(group)))
    combine = _COMBINE[rest[0]] if rest else np.bitwise_and
    third = operands.read(instruction.operands[3], "pred") if rest else lambda group: np.True_

    def run(group: Group) -> None:
        result, other = compare(first(group), second(group)), third(group)
        write(group, combine(result, other))
        write_complement(group, combine(~result, other))

    return run


def _unpacked(compare: Callable[[Value, Value], Value], type: Type) -> Callable[[Value, Value], Value]:
    return lambda x, y: compare(unpack(x, type), unpack(y, type))


@opcode("selp")
def select(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(f"b{ptx_type(instruction.type).bits}")
    write = operands.write(instruction.operands[0], type)
    first, second = (operands.read(operand, type) for operand in instruction.operands[1:3])
    predicate = operands.read(instruction.operands[3], "pred")

    def run(group: Group) -> None:
        choice = predicate(group)
        if choice.ndim == 0:
            write(group, first(group) if choice else second(group))
        else:
            write(group, np.where(choice, first(group), second(group)))

    return run

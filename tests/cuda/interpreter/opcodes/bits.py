"""Moves, logic, shifts and bit fields."""

from __future__ import annotations

import numpy as np

from ..errors import InterpreterError
from ..lanes import Group
from ..operands import Operands, Step, vector
from ..ptx import Instruction
from ..values import Value, ptx_type
from .arithmetic import step
from .table import opcode

_U32, _U64 = np.dtype(np.uint32), np.dtype(np.uint64)


@opcode("mov")
def move(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type("pred" if instruction.type == "pred" else f"b{ptx_type(instruction.type).bits}")
    destination, source = instruction.operands
    if destination.startswith("{"):
        return _split(operands, vector(destination), source, type.bits)
    if source.startswith("{"):
        return _join(operands, destination, vector(source), type.bits)
    read, write = operands.read(source, type), operands.write(destination, type)
    return lambda group: write(group, read(group))


def _split(operands: Operands, destinations: tuple[str, ...], source: str, bits: int) -> Step:
    width = bits // len(destinations)
    part = ptx_type(f"b{width}")
    read = operands.read(source, f"b{bits}")
    writes = [operands.write(name, part) for name in destinations]

    def run(group: Group) -> None:
        value = read(group)
        for i, write in enumerate(writes):
            write(group, (value >> value.dtype.type(i * width)).astype(part.raw))

    return run


def _join(operands: Operands, destination: str, sources: tuple[str, ...], bits: int) -> Step:
    width = bits // len(sources)
    reads = [operands.read(name, f"b{width}") for name in sources]
    write, whole = operands.write(destination, f"b{bits}"), ptx_type(f"b{bits}").raw

    def run(group: Group) -> None:
        parts = [read(group).astype(whole) << whole.type(i * width) for i, read in enumerate(reads)]
        write(group, np.bitwise_or.reduce(np.broadcast_arrays(*parts)) if len(parts) > 2 else parts[0] | parts[1])

    return run


_LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert}


@opcode(*_LOGIC)
def logic(operands: Operands, instruction: Instruction) -> Step:
    return step(operands, instruction, _LOGIC[instruction.opcode], ptx_type(instruction.type))


@opcode("lop3")
def any_logic(operands: Operands, instruction: Instruction) -> Step:
    """A truth table of three inputs, as an 8-bit number."""
    table = int(instruction.operands[4], 0)
    destination, *sources = instruction.operands[:4]
    reads = [operands.read(source, "b32") for source in sources]
    write = operands.write(destination, "b32")

    def run(group: Group) -> None:
        a, b, c = (read(group) for read in reads)
        result = np.zeros_like(a | b | c)
        for i in range(8):
            if table >> i & 1:
                result = result | (a if i & 4 else ~a) & (b if i & 2 else ~b) & (c if i & 1 else ~c)
        write(group, result)

    return run


@opcode("shl", "shr")
def shift(operands: Operands, instruction: Instruction) -> Step:
    """Shifting by the width or more leaves nothing but, shifting a signed number right, its sign."""
    type = ptx_type(instruction.type)
    write = operands.write(instruction.operands[0], type)
    read, count = operands.read(instruction.operands[1], type), operands.read(instruction.operands[2], "u32")
    left, keeps_sign, last = instruction.opcode == "shl", type.is_signed, np.uint32(type.bits - 1)

    def run(group: Group) -> None:
        value, by = read(group), count(group)
        within = np.minimum(by, last).astype(type.dtype)
        result = value << within if left else value >> within
        if not keeps_sign and np.max(by) > last:
            result = np.where(by > last, type.dtype.type(0), result)
        write(group, result)

    return run


@opcode("shf")
def funnel_shift(operands: Operands, instruction: Instruction) -> Step:
    left, mode, _ = instruction.modifiers
    destination, *sources = instruction.operands
    low, high, count = (operands.read(source, "u32") for source in sources)
    write = operands.write(destination, "b32")

    def run(group: Group) -> None:
        by = count(group)
        by = (by & np.uint32(31) if mode == "wrap" else np.minimum(by, np.uint32(32))).astype(_U64)
        both = low(group).astype(_U64) | high(group).astype(_U64) << np.uint64(32)
        write(group, ((both << by) >> np.uint64(32) if left == "l" else both >> by).astype(_U32))

    return run


def _ones(count: Value) -> Value:
    """`count` low bits set, as uint64; count up to 64."""
    count = count.astype(_U64)
    return np.where(count >= 64, ~np.uint64(0), (np.uint64(1) << np.minimum(count, np.uint64(63))) - np.uint64(1))


@opcode("bfe")
def extract_field(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    destination, source, position, length = instruction.operands
    read, write = operands.read(source, type), operands.write(destination, type)
    start, size = operands.read(position, "u32"), operands.read(length, "u32")

    def run(group: Group) -> None:
        p, n = (start(group) & np.uint32(255)).astype(np.int64), (size(group) & np.uint32(255)).astype(np.int64)
        value = read(group)
        field = np.where(
            p < type.bits, value.astype(type.raw).astype(_U64) >> np.minimum(p, 63).astype(_U64), np.uint64(0)
        )
        field = field & _ones(np.minimum(n, type.bits))
        if type.is_signed:
            top = np.minimum(np.maximum(p + n - 1, 0), type.bits - 1).astype(_U64)
            negative = (value.astype(type.raw).astype(_U64) >> top & np.uint64(1)).astype(bool) & (n > 0)
            field = np.where(negative, field | ~_ones(np.minimum(n, np.maximum(type.bits - p, 0))), field)
        write(group, field.astype(type.raw).view(type.dtype))

    return run


@opcode("bfi")
def insert_field(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    destination, field, base, position, length = instruction.operands
    first, second, write = operands.read(field, type), operands.read(base, type), operands.write(destination, type)
    start, size = operands.read(position, "u32"), operands.read(length, "u32")

    def run(group: Group) -> None:
        p, n = (read(group) & np.uint32(255) for read in (start, size))
        by = np.minimum(p, 63).astype(_U64)
        mask = np.where(p < type.bits, _ones(n) << by, np.uint64(0))
        inserted = first(group).astype(_U64) << by & mask
        write(group, (inserted | second(group).astype(_U64) & ~mask).astype(type.raw))

    return run


@opcode("bmsk")
def bit_mask(operands: Operands, instruction: Instruction) -> Step:
    wrap = "wrap" in instruction.modifiers

    def mask(start: Value, length: Value) -> Value:
        limit = np.uint32(31) if wrap else np.uint32(32)
        p, n = (x & limit if wrap else np.minimum(x, limit) for x in (start, length))
        return (_ones(n) << p.astype(_U64)).astype(_U32)

    return step(operands, instruction, mask, ptx_type("u32"))


def _bits(value: Value) -> np.ndarray:
    """[n, width], the lowest bit first."""
    octets = np.atleast_1d(value)[:, None].view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little")


def _as(value: Value, result: np.ndarray, dtype: np.dtype) -> Value:
    result = result.astype(dtype)
    return result if value.ndim else result[0]


def _population(value: Value) -> Value:
    return _as(value, _bits(value).sum(axis=1), _U32)


def _leading_zeros(value: Value) -> Value:
    bits = _bits(value)[:, ::-1]
    return _as(value, np.where(bits.any(axis=1), bits.argmax(axis=1), bits.shape[1]), _U32)


def _reversed_bits(value: Value) -> Value:
    packed = np.packbits(_bits(value)[:, ::-1], axis=1, bitorder="little")
    return _as(value, packed.view(value.dtype).reshape(-1), value.dtype)


_COUNTS = {"popc": _population, "clz": _leading_zeros}


@opcode(*_COUNTS)
def count_bits(operands: Operands, instruction: Instruction) -> Step:
    return step(operands, instruction, _COUNTS[instruction.opcode], ptx_type(instruction.type), ptx_type("u32"))


@opcode("brev")
def reverse(operands: Operands, instruction: Instruction) -> Step:
    return step(operands, instruction, _reversed_bits, ptx_type(instruction.type))


@opcode("bfind")
def find_highest(operands: Operands, instruction: Instruction) -> Step:
    """The position of the highest bit that differs from the sign; 0xffffffff where there is none."""
    type = ptx_type(instruction.type)
    shift_amount = "shiftamt" in instruction.modifiers

    def find(value: Value) -> Value:
        bits = _leading_zeros((np.where(value < 0, ~value, value) if type.is_signed else value).view(type.raw))
        position = bits if shift_amount else np.uint32(type.bits - 1) - bits
        return np.where(bits == type.bits, np.uint32(0xFFFFFFFF), position)

    return step(operands, instruction, find, type, ptx_type("u32"))


@opcode("prmt")
def permute_bytes(operands: Operands, instruction: Instruction) -> Step:
    if len(instruction.modifiers) != 1:
        raise InterpreterError(f"the interpreter does not know the mode of: {instruction}")

    def permute(low: Value, high: Value, selector: Value) -> Value:
        both = low.astype(_U64) | high.astype(_U64) << np.uint64(32)
        result = np.uint32(0)
        for i in range(4):
            pick = selector >> np.uint32(4 * i)
            octet = (both >> ((pick & np.uint32(7)).astype(_U64) * np.uint64(8)) & np.uint64(0xFF)).astype(_U32)
            sign = np.where(octet & np.uint32(0x80), np.uint32(0xFF), np.uint32(0))
            result = result | np.where(pick & np.uint32(8), sign, octet) << np.uint32(8 * i)
        return result

    return step(operands, instruction, permute, ptx_type("u32"))


@opcode("dp4a")
def dot_product(operands: Operands, instruction: Instruction) -> Step:
    left, right = (np.int8 if name == "s32" else np.uint8 for name in instruction.modifiers[-2:])
    destination, *sources = instruction.operands
    reads = [operands.read(source, "b32") for source in sources]
    write = operands.write(destination, "s32")

    def run(group: Group) -> None:
        a, b, c = (group.spread(read(group)) for read in reads)
        products = a[:, None].view(left).astype(np.int32) * b[:, None].view(right).astype(np.int32)
        write(group, products.sum(axis=1, dtype=np.int32) + c.view(np.int32))

    return run

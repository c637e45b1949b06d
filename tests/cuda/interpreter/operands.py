"""Operands of instructions as functions: decoded once, called at every execution."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from .errors import InterpreterError
from .lanes import Group
from .ptx import Instruction, Kernel, split_operands
from .values import Type, Value, immediate, ptx_type, resize

Read = Callable[[Group], Value]
Write = Callable[[Group, Value], None]
Step = Callable[[Group], None]

_ADDRESS = re.compile(r"\[\s*([^+\]]+?)\s*(?:\+\s*(-?\w+))?\s*\]")


class Operands:
    """Makes readers and writers for the operands of one kernel's instructions."""

    def __init__(self, kernel: Kernel, symbols: dict[str, int]) -> None:
        self.kernel = kernel
        parameters = {name: offset for name, (offset, _) in kernel.parameters.items()}
        self.symbols = {**symbols, **kernel.shared, **kernel.local, **parameters}
        self.registers = kernel.registers

    def is_register(self, operand: str) -> bool:
        return operand in self.registers or operand.startswith("%")

    def read(self, operand: str, type: Type | str) -> Read:
        type = ptx_type(type) if isinstance(type, str) else type
        if operand.startswith("!"):
            positive = self.read(operand[1:], type)
            return lambda group: ~positive(group)
        if not self.is_register(operand):
            constant = self.constant(operand, type)
            return lambda group: constant
        name, dtype = operand, type.dtype
        if self.bits(name) == type.bits:

            def read(group: Group) -> Value:
                value = group.registers[name]
                return value if value.dtype is dtype else value.view(dtype)

            return read
        return lambda group: resize(group.registers[name], type.raw, False).view(dtype)

    def bits(self, register: str) -> int:
        """Special registers are 32 bits wide."""
        return ptx_type(self.registers.get(register, "b32")).bits

    def constant(self, operand: str, type: Type) -> np.generic:
        if operand == "WARP_SZ":
            return type.dtype.type(32)
        if operand in self.symbols:
            return type.raw.type(self.symbols[operand]).view(type.dtype)
        return immediate(operand, type)

    def write(self, operand: str, type: Type | str) -> Write:
        type = ptx_type(type) if isinstance(type, str) else type
        if operand == "_":
            return lambda group, value: None
        name = operand
        if self.bits(name) == type.bits:

            def write(group: Group, value: Value) -> None:
                group.registers[name] = value

            return write
        raw, signed = ptx_type(self.registers[name]).raw, type.is_signed

        def write_resized(group: Group, value: Value) -> None:
            group.registers[name] = resize(value, raw, signed)

        return write_resized

    def address(self, operand: str) -> Read:
        """The address of `[base+displacement]`, as int64."""
        match = _ADDRESS.fullmatch(operand)
        if match is None:
            raise InterpreterError(f"cannot read the address {operand}")
        base, displacement = match[1], np.int64(int(match[2] or "0", 0))
        if not self.is_register(base):
            constant = np.int64(self.symbols[base] if base in self.symbols else int(base, 0)) + displacement
            return lambda group: constant
        wide = self.bits(base) == 64
        read = self.read(base, "s64" if wide else "u32")
        if wide and displacement == 0:
            return read
        if wide:
            return lambda group: read(group) + displacement
        return lambda group: read(group).astype(np.int64) + displacement


def vector(operand: str) -> tuple[str, ...]:
    """The elements of `{a, b}`; of anything else, itself."""
    return split_operands(operand[1:-1]) if operand.startswith("{") else (operand,)


_WRITE_NOTHING = {"st", "red", "bra", "brx", "ret", "exit", "trap", "membar", "fence", "prefetch", "nanosleep"}
_NAME = re.compile(r"[%\w$.@+]+")


def written_registers(instruction: Instruction, registers: dict[str, str]) -> list[str]:
    """The registers that an instruction may change."""
    if instruction.opcode in _WRITE_NOTHING or not instruction.operands:
        return []
    names = [part for element in vector(instruction.operands[0]) for part in element.split("|")]
    return [name for name in names if name in registers]


def read_registers(instruction: Instruction, registers: dict[str, str]) -> set[str]:
    """The registers that an instruction may look at."""
    first = 1 if written_registers(instruction, registers) else 0
    text = " ".join((*instruction.operands[first:], instruction.guard or ""))
    return {name for name in _NAME.findall(text) for name in (name, name.split("+")[0]) if name in registers}


def check_modifiers(instruction: Instruction, allowed: set[str]) -> None:
    unknown = [m for m in instruction.modifiers if m not in allowed]
    if unknown:
        raise InterpreterError(f"the interpreter does not know .{' .'.join(unknown)} of: {instruction}")

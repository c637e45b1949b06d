"""Opcodes by name. What is not in the table raises."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InterpreterError
from ..operands import Operands, Step
from ..ptx import Instruction

Builder = Callable[[Operands, Instruction], Step]

_BUILDERS: dict[str, Builder] = {}


def opcode(*names: str) -> Callable[[Builder], Builder]:
    """Registers a function that turns an instruction of one of these names into a step."""

    def register(builder: Builder) -> Builder:
        _BUILDERS.update(dict.fromkeys(names, builder))
        return builder

    return register


def step_for(operands: Operands, instruction: Instruction) -> Step:
    builder = _BUILDERS.get(instruction.opcode)
    if builder is None:
        raise InterpreterError(f"the interpreter does not know the opcode of: {instruction}")
    return builder(operands, instruction)

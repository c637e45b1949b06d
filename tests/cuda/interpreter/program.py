"""A kernel as basic blocks of decoded steps, with the registers that are still needed behind each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from .control import Control, control_of, is_control
from .opcodes import step_for
from .opcodes.collectives import is_collective, mask_operand
from .operands import Operands, Read, Step, read_registers, written_registers
from .ptx import Instruction, Kernel, Module
from .values import Value, ptx_type


@dataclass
class Block:
    instructions: list[Instruction]  # without the control instruction
    steps: list[Step]
    control: Control
    mask: Read | None  # of the warp collective with which the block starts
    writes: set[str]
    live_in: set[str] = field(default_factory=set)  # registers that somebody may read from here on
    live_out: set[str] = field(default_factory=set)  # and behind this block


class Program:
    """A kernel, decoded for the addresses of one device's variables."""

    def __init__(self, module: Module, name: str, symbols: dict[str, int]) -> None:
        self.kernel = _without_guarded_control(module.kernel(name))
        self.operands = Operands(self.kernel, symbols)
        starts = self._starts()
        self._block_at = {start: i for i, start in enumerate(starts)}
        ends = [*starts[1:], len(self.kernel.code)]
        self.blocks = [self._decode(start, end) for start, end in zip(starts, ends, strict=True)]
        self._find_live_registers()
        self.initial = {name: ptx_type(type).raw.type(0) for name, type in self.kernel.registers.items()}

    def _starts(self) -> list[int]:
        """Where blocks start: at labels, behind control, at warp collectives."""
        code = self.kernel.code
        starts = {0, *(at for at in self.kernel.labels.values() if at < len(code))}
        for i, instruction in enumerate(code):
            if is_control(instruction) and i + 1 < len(code):
                starts.add(i + 1)
            if is_collective(instruction):
                starts.add(i)
        return sorted(starts)

    def block_of(self, label: str) -> int:
        """A label behind the last instruction leads to the end, which is no block."""
        return self._block_at.get(self.kernel.labels[label], len(self._block_at))

    def _decode(self, start: int, end: int) -> Block:
        code = self.kernel.code[start:end]
        following = self._block_at.get(end, len(self._block_at))
        last = code.pop() if code and is_control(code[-1]) else None
        control = control_of(self, last, following)
        mask = self.operands.read(mask_operand(code[0]), "u32") if code and is_collective(code[0]) else None
        registers = self.kernel.registers
        writes = {name for instruction in code for name in written_registers(instruction, registers)}
        return Block(code, [self._step(instruction) for instruction in code], control, mask, writes)

    def _step(self, instruction: Instruction) -> Step:
        step = step_for(self.operands, instruction)
        if instruction.guard is None:
            return step
        predicate = self.operands.read(instruction.guard, "pred")
        return guarded(step, predicate, written_registers(instruction, self.kernel.registers))

    def _find_live_registers(self) -> None:
        registers = self.kernel.registers
        needed, killed = [], []
        for block in self.blocks:
            reads: set[str] = set()
            writes: set[str] = set()
            instructions = [*block.instructions, *([block.control.instruction] if block.control.instruction else [])]
            for instruction in instructions:
                reads |= read_registers(instruction, registers) - writes
                if instruction.guard is None:
                    writes.update(written_registers(instruction, registers))
            needed.append(reads)
            killed.append(writes)
        changed = True
        while changed:
            changed = False
            for i in range(len(self.blocks) - 1, -1, -1):
                block = self.blocks[i]
                successors = [s for s in block.control.successors if s < len(self.blocks)]
                block.live_out = set().union(*(self.blocks[s].live_in for s in successors))
                live = needed[i] | (block.live_out - killed[i])
                if live != block.live_in:
                    block.live_in, changed = live, True


def guarded(step: Step, predicate: Read, written: list[str]) -> Step:
    """A step for the lanes whose predicate holds."""

    def run(group) -> None:
        holds: Value = predicate(group)
        if holds.all():
            step(group)
        elif holds.any():
            where = np.flatnonzero(holds)
            part = group.narrow(where)
            step(part)
            group.merge(part, where, written)

    return run


def _without_guarded_control(kernel: Kernel) -> Kernel:
    """Guards of everything that moves lanes become branches around it, so that only branches have two ways out."""
    code: list[Instruction] = []
    moved: list[int] = []  # new index of each instruction
    labels: dict[str, int] = {}
    for instruction in kernel.code:
        moved.append(len(code))
        moves_lanes = is_control(instruction) or is_collective(instruction)
        if instruction.guard is None or instruction.opcode == "bra" or not moves_lanes:
            code.append(instruction)
            continue
        guard = instruction.guard[1:] if instruction.guard.startswith("!") else f"!{instruction.guard}"
        around = f"$around{len(labels)}"
        code.append(replace(instruction, opcode="bra", modifiers=(), operands=(around,), guard=guard))
        code.append(replace(instruction, guard=None))
        labels[around] = len(code)
    moved.append(len(code))
    labels.update({name: moved[at] for name, at in kernel.labels.items()})
    return replace(kernel, code=code, labels=labels)

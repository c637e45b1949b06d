"""What ends a basic block: branches, block barriers, the end of a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import InterpreterError, KernelError
from .lanes import Group
from .operands import Read
from .ptx import Instruction

if TYPE_CHECKING:
    from .program import Program

Destinations = list[tuple[np.ndarray | None, int]]  # lanes (None: all of the group) and the block to which they go

_BARRIERS = ("bar", "barrier")


def is_control(instruction: Instruction) -> bool:
    if instruction.opcode in _BARRIERS:
        return "warp" not in instruction.modifiers
    return instruction.opcode in ("bra", "brx", "ret", "exit", "trap", "brkpt")


@dataclass
class Control:
    """Falls through to the next block."""

    instruction: Instruction | None
    following: int

    @property
    def successors(self) -> list[int]:
        return [self.following]

    def leave(self, group: Group) -> Destinations:
        return [(None, self.following)]


@dataclass
class Branch(Control):
    target: int
    predicate: Read | None

    @property
    def successors(self) -> list[int]:
        return [self.target, *([self.following] if self.predicate else [])]

    def leave(self, group: Group) -> Destinations:
        if self.predicate is None:
            return [(None, self.target)]
        taken = self.predicate(group)
        if taken.all():
            return [(None, self.target)]
        if not taken.any():
            return [(None, self.following)]
        return [(group.lanes[taken], self.target), (group.lanes[~taken], self.following)]


@dataclass
class IndexedBranch(Control):
    targets: list[int]
    index: Read

    @property
    def successors(self) -> list[int]:
        return self.targets

    def leave(self, group: Group) -> Destinations:
        choice = group.spread(self.index(group))
        return [(group.lanes[choice == i], self.targets[i]) for i in np.unique(choice)]


@dataclass
class Exit(Control):
    @property
    def successors(self) -> list[int]:
        return []

    def leave(self, group: Group) -> Destinations:
        if self.instruction is not None and self.instruction.opcode in ("trap", "brkpt"):
            lane = group.executor.chunk.describe(int(group.lanes[0]))
            raise KernelError(f"trap: {lane} failed an assertion; {self.instruction}")
        group.executor.exit(group.lanes)
        return []


@dataclass
class Barrier(Control):
    """A barrier of the block, or of `count` of its threads."""

    identity: Read
    count: Read | None
    waits: bool
    reduction: str | None = None  # "and", "or" or "popc"
    predicate: Read | None = None

    def leave(self, group: Group) -> Destinations:
        group.executor.barriers.arrive(self, group)
        return [] if self.waits else [(None, self.following)]


def control_of(program: Program, instruction: Instruction | None, following: int) -> Control:
    if instruction is None:
        return Control(None, following)
    operands = program.operands
    if instruction.opcode == "bra":
        predicate = operands.read(instruction.guard, "pred") if instruction.guard else None
        return Branch(instruction, following, program.block_of(instruction.operands[0]), predicate)
    if instruction.opcode == "brx":
        index, label = instruction.operands
        targets = [program.block_of(target) for target in program.kernel.branch_targets[label]]
        return IndexedBranch(instruction, following, targets, operands.read(index, "u32"))
    if instruction.opcode in _BARRIERS:
        return _barrier(program, instruction, following)
    return Exit(instruction, following)


def _barrier(program: Program, instruction: Instruction, following: int) -> Barrier:
    read = program.operands.read
    action = next((m for m in instruction.modifiers if m in ("sync", "arrive", "red")), None)
    names = list(instruction.operands)
    if action == "red":
        reduction = next(m for m in instruction.modifiers if m in ("and", "or", "popc"))
        _, *names, predicate = names
        count = read(names[1], "u32") if len(names) > 1 else None
        return Barrier(instruction, following, read(names[0], "u32"), count, True, reduction, read(predicate, "pred"))
    if action is None:
        raise InterpreterError(f"the interpreter does not know: {instruction}")
    count = read(names[1], "u32") if len(names) > 1 else None
    return Barrier(instruction, following, read(names[0], "u32"), count, action == "sync")

"""Warp collectives. The executor has already waited for all live lanes of the mask."""

from __future__ import annotations

import numpy as np

from ..errors import InterpreterError
from ..lanes import WARP, Group
from ..operands import Operands, Step
from ..ptx import Instruction
from ..values import ptx_type
from .table import opcode

COLLECTIVES = {"shfl", "vote", "match", "redux", "elect"}


def is_collective(instruction: Instruction) -> bool:
    return instruction.opcode in COLLECTIVES or is_warp_barrier(instruction)


def is_warp_barrier(instruction: Instruction) -> bool:
    return instruction.opcode == "bar" and instruction.modifiers[:1] == ("warp",)


def mask_operand(instruction: Instruction) -> str:
    return instruction.operands[0] if is_warp_barrier(instruction) else instruction.operands[-1]


@opcode("shfl")
def shuffle(operands: Operands, instruction: Instruction) -> Step:
    _, mode, _ = instruction.modifiers
    destination, _, in_range = instruction.operands[0].partition("|")
    value = operands.read(instruction.operands[1], "b32")
    operand, clamp_and_segment = (operands.read(name, "s32") for name in instruction.operands[2:4])
    write, write_in_range = operands.write(destination, "b32"), operands.write(in_range or "_", "pred")

    def run(group: Group) -> None:
        chunk = group.executor.chunk
        lane = chunk.lane_id[group.lanes]
        by, packed = operand(group).astype(np.int64) & 31, clamp_and_segment(group).astype(np.int64)
        segment, clamp = packed >> 8 & 31, packed & 31
        first, last = lane & segment, (lane & segment) | (clamp & ~segment)
        source = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": first | (by & ~segment)}[mode]
        valid = source >= last if mode == "up" else source <= last
        source = group.lanes - lane + np.where(valid, source, lane)
        # Lanes that take no part hold nothing that a kernel may rely on.
        everybody = np.full(chunk.size + WARP, 0xFFFFFFFF, np.uint32)
        everybody[group.lanes] = value(group)
        write(group, everybody[source])
        write_in_range(group, valid)

    return run


@opcode("vote")
def vote(operands: Operands, instruction: Instruction) -> Step:
    mode = next(m for m in instruction.modifiers if m in ("all", "any", "uni", "ballot"))
    destination, predicate, mask = instruction.operands
    read, read_mask = operands.read(predicate, "pred"), operands.read(mask, "u32")
    write = operands.write(destination, "b32" if mode == "ballot" else "pred")

    def run(group: Group) -> None:
        chunk, yes, members = group.executor.chunk, group.spread(read(group)), read_mask(group)
        warp = chunk.warp[group.lanes]
        present = chunk.warp_masks(group.lanes)[warp] & members
        votes = chunk.warp_masks(group.lanes[yes])[warp] & members
        results = {"ballot": votes, "any": votes != 0, "all": votes == present}
        write(group, results[mode] if mode != "uni" else (votes == 0) | (votes == present))

    return run


def _sets(group: Group, masks: np.ndarray) -> np.ndarray:
    """A number for each set of lanes that take part together."""
    return group.executor.chunk.warp[group.lanes] << WARP | group.spread(masks).astype(np.int64)


@opcode("match")
def match(operands: Operands, instruction: Instruction) -> Step:
    if "any" not in instruction.modifiers:
        raise InterpreterError(f"the interpreter does not know: {instruction}")
    destination, source, mask = instruction.operands
    read, read_mask = operands.read(source, f"u{ptx_type(instruction.type).bits}"), operands.read(mask, "u32")
    write = operands.write(destination, "b32")

    def run(group: Group) -> None:
        key = np.stack([_sets(group, read_mask(group)), group.spread(read(group)).astype(np.int64)])
        unique, which = np.unique(key, axis=1, return_inverse=True)
        which = which.reshape(-1)
        equal = np.bincount(which, group.executor.chunk.bit[group.lanes], unique.shape[1]).astype(np.uint32)
        write(group, equal[which])

    return run


_REDUCTIONS = {
    "add": np.add, "min": np.minimum, "max": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip


@opcode("redux")
def reduce(operands: Operands, instruction: Instruction) -> Step:
    type = ptx_type(instruction.type)
    combine = _REDUCTIONS[next(m for m in instruction.modifiers if m in _REDUCTIONS)]
    destination, source, mask = instruction.operands
    read, read_mask, write = operands.read(source, type), operands.read(mask, "u32"), operands.write(destination, type)

    def run(group: Group) -> None:
        _, which, counts = np.unique(_sets(group, read_mask(group)), return_inverse=True, return_counts=True)
        members = np.argsort(which, kind="stable")  # set after set
        starts = np.append(0, np.cumsum(counts)[:-1])
        write(group, combine.reduceat(group.spread(read(group))[members], starts, dtype=type.dtype)[which])

    return run


@opcode("elect")
def elect(operands: Operands, instruction: Instruction) -> Step:
    """The lowest lane of the mask is chosen."""
    destination, _, chosen = instruction.operands[0].partition("|")
    read_mask = operands.read(instruction.operands[1], "u32")
    write, write_chosen = operands.write(destination, "b32"), operands.write(chosen, "pred")

    def run(group: Group) -> None:
        mask = group.spread(read_mask(group))
        lowest = np.log2(mask & (~mask + np.uint32(1))).astype(np.uint32)
        write(group, lowest)
        write_chosen(group, group.executor.chunk.lane_id[group.lanes] == lowest)

    return run


@opcode("bar")
def warp_barrier(operands: Operands, instruction: Instruction) -> Step:
    """bar.warp.sync, __syncwarp; barriers of the block are control flow."""
    read_mask = operands.read(instruction.operands[0], "u32")
    return lambda group: group.executor.pass_warp_barrier(group, read_mask(group))


@opcode("activemask")
def active_mask(operands: Operands, instruction: Instruction) -> Step:
    """Each lane sees itself alone, for nothing promises that lanes have converged."""
    write = operands.write(instruction.operands[0], "b32")
    return lambda group: write(group, group.executor.chunk.bit[group.lanes])

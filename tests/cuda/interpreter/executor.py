"""Executes a chunk of thread blocks: the group of lanes at the lowest program counter goes first."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from .barriers import Barriers
from .checks import RaceCheck
from .errors import InterpreterError, KernelError
from .lanes import Chunk, Group, Launch, RegisterFile, Selection
from .memory import Access, DeviceMemory, GenericSpace, LaneSpace, ParameterSpace, describe
from .program import Block, Program
from .ptx import Instruction
from .values import Value

CHUNK_LANES = 16 * 1024  # the fastest: enough to hide numpy's cost per call, and the registers stay in the cache
_PATIENCE = 512  # basic blocks, after which another group goes on: the lowest may loop until that has done something
_ENDLESS = 3_000_000  # basic blocks of one chunk: a minute or so


def execute(program: Program, launch: Launch, memory: DeviceMemory, race_check: RaceCheck | None) -> int:
    """Runs a whole grid; returns the number of thread-instructions. Without a race check there is no initcheck."""
    blocks_at_once = max(1, CHUNK_LANES // launch.threads)
    executed = 0
    with np.errstate(all="ignore"):
        for first in range(0, launch.blocks, blocks_at_once):
            chunk = Chunk(launch, first, min(blocks_at_once, launch.blocks - first))
            executor = Executor(program, chunk, memory, race_check)
            executor.run()
            executed += executor.executed
    return executed


class Executor:
    def __init__(self, program: Program, chunk: Chunk, memory: DeviceMemory, race_check: RaceCheck | None) -> None:
        self.program, self.chunk, self.race_check = program, chunk, race_check
        if race_check:
            race_check.begin(chunk)
        kernel, launch = program.kernel, chunk.launch
        self.registers = RegisterFile(chunk.size, {**program.initial, **chunk.special_registers()})
        self.shared = LaneSpace("shared", chunk.block, chunk.blocks, kernel.shared_bytes + launch.dynamic_shared)
        self.local = LaneSpace("local", chunk.lanes, chunk.size, kernel.local_bytes)
        self.local.region.is_initialised = True  # the compiler copies padding
        self.spaces = {
            "global": memory,
            "shared": self.shared,
            "local": self.local,
            "param": ParameterSpace(launch.parameters),
            "generic": GenericSpace(memory, self.shared, self.local),
        }
        self.barriers = Barriers(self)
        self.live_masks = chunk.warp_masks(chunk.lanes)
        self.live_threads = np.full(chunk.blocks, chunk.threads)
        self.executed = 0
        self._exits = 0
        self._runnable: dict[int, list[np.ndarray]] = defaultdict(list)  # by block
        self._incomplete: dict[int, list[np.ndarray]] = {}  # lanes that wait for others at a warp collective
        self._exits_seen = 0
        self._blocks_until_other, self._rounds = _PATIENCE, 0
        self._random = np.random.default_rng(0)

    def run(self) -> None:
        self.park(self.chunk.lanes, 0)
        while True:
            if not self._runnable:
                if self.barriers.release() or self._retry_collectives():
                    continue
                if self.live_threads.any():
                    raise self._deadlock()
                return
            lowest = self._blocks_until_other > 0
            if lowest:
                index = min(self._runnable)
            else:
                self._lose_patience()
                self.barriers.release()
                self._retry_collectives()
                index = int(self._random.choice(list(self._runnable)))
            pieces = self._runnable.pop(index)
            self._advance(index, pieces[0] if len(pieces) == 1 else np.concatenate(pieces), lowest)

    def park(self, lanes: np.ndarray, index: int) -> None:
        self._runnable[index].append(lanes)

    def _group(self, lanes: np.ndarray) -> Group:
        whole = len(lanes) == self.chunk.size
        if whole:
            self.registers.disown()
            return Group(self, self.chunk.lanes, self.registers, True)
        return Group(self, lanes, Selection(self.registers, lanes), False)

    def _advance(self, index: int, lanes: np.ndarray, lowest: bool) -> None:
        """Runs a group until it splits, waits, ends, comes to where others stand or is no longer the lowest."""
        group, dirty = self._group(lanes), set()
        blocks = self.program.blocks
        while index < len(blocks):
            block = blocks[index]
            if block.mask is not None:
                group = self._assemble(index, block, group, dirty)
                if group is None:
                    return
            for step in block.steps:
                try:
                    step(group)
                except InterpreterError:
                    raise
                except Exception as error:
                    instruction = block.instructions[block.steps.index(step)]
                    raise InterpreterError(f"the interpreter failed: {error!r}; {instruction}") from error
            self.executed += group.size * (len(block.steps) + 1)
            self._blocks_until_other -= 1
            dirty |= block.writes
            destinations = block.control.leave(group)
            if len(destinations) == 1 and destinations[0][0] is None and self._may_go_on(destinations[0][1], lowest):
                index = destinations[0][1]
                continue
            self.registers.write_back(group, dirty, block.live_out)
            for some, target in destinations:
                self.park(group.lanes if some is None else some, target)
            return
        self.exit(group.lanes)

    def _may_go_on(self, index: int, lowest: bool) -> bool:
        if self._blocks_until_other <= 0:
            return False
        return not self._runnable or (index < min(self._runnable) if lowest else index not in self._runnable)

    def _lose_patience(self) -> None:
        self._blocks_until_other = _PATIENCE
        self._rounds += 1
        if self._rounds * _PATIENCE > _ENDLESS:
            index, pieces = next(iter(self._runnable.items()))
            block = self.program.blocks[index]
            where = [*block.instructions, block.control.instruction][0]
            raise KernelError(f"the kernel does not end: {self.chunk.describe(int(pieces[0][0]))} still runs; {where}")

    def exit(self, lanes: np.ndarray) -> None:
        self.live_masks &= ~self.chunk.warp_masks(lanes)
        self.live_threads -= np.bincount(self.chunk.block[lanes], minlength=self.chunk.blocks)
        self._exits += 1

    def _assemble(self, index: int, block: Block, group: Group, dirty: set[str]) -> Group | None:
        """Waits until all live lanes of the mask of a warp collective have come."""
        masks, instruction = block.mask(group), block.instructions[0]
        waiting = self._incomplete.pop(index, None)
        if waiting is None and group.is_whole and masks.ndim == 0 and masks == 0xFFFFFFFF:
            return group
        if waiting is not None:
            self.registers.write_back(group, dirty, block.live_in)
            dirty.clear()
            group = self._group(np.concatenate([*waiting, group.lanes]))
            masks = block.mask(group)
        chunk = self.chunk
        outsider = (masks & chunk.bit[group.lanes]) == 0
        if outsider.any():
            lane = describe(group, int(outsider.argmax()))
            raise KernelError(
                f"synccheck: {lane} is not in the mask of the warp collective that it calls; {instruction}"
            )
        absent = (self.live_masks & ~chunk.warp_masks(group.lanes))[chunk.warp[group.lanes]]
        incomplete = (masks & absent) != 0
        if not incomplete.any():
            return group
        self.registers.write_back(group, dirty, block.live_in)
        dirty.clear()
        self._incomplete[index] = [group.lanes[incomplete]]
        if incomplete.all():
            return None
        return self._group(group.lanes[~incomplete])

    def _retry_collectives(self) -> bool:
        """Lanes may have ended for which others waited."""
        if self._exits == self._exits_seen or not self._incomplete:
            return False
        self._exits_seen = self._exits
        for index, pieces in self._incomplete.items():
            self._runnable[index].extend(pieces)
        self._incomplete = {}
        return True

    def _deadlock(self) -> KernelError:
        waits = [(instruction, lanes) for instruction, lanes in self.barriers.waiting()]
        for index, pieces in self._incomplete.items():
            waits.append((self.program.blocks[index].instructions[0], np.concatenate(pieces)))
        where = "; ".join(
            f"{len(lanes)} threads (first: {self.chunk.describe(int(lanes.min()))}) at {instruction}"
            for instruction, lanes in waits
        )
        return KernelError(f"synccheck: deadlock, threads wait for others that never come: {where}")

    def pass_warp_barrier(self, group: Group, masks: Value) -> None:
        if self.race_check:
            self.race_check.order.pass_warp_barrier(group.lanes, masks, self.live_masks, self.race_check.now)

    def pass_block_barrier(self, lanes: np.ndarray, blocks: np.ndarray, count: int | None) -> None:
        if self.race_check is None:
            return
        order, now = self.race_check.order, self.race_check.now
        if count is None or count == self.chunk.threads:
            order.pass_block_barrier(blocks, self.live_threads > 0, now)
        else:
            order.pass_part_barrier(lanes[blocks[self.chunk.block[lanes]]], now)

    def check_access(
        self, kind: str, group: Group, access: Access, size: int, instruction: Instruction, *, reads: bool | None = None
    ) -> None:
        """The checks behind bounds and alignment; marks what is written."""
        region, where, offsets = access
        if self.race_check is None or region is self.local.region:
            if kind != "read":
                region.mark(offsets, size)
            return
        if reads or (reads is None and instruction.opcode == "ld"):
            missing = region.unwritten(offsets, size)
            if missing is not None:
                position = int(missing[0]) if where is None else int(where[missing[0]])
                raise KernelError(
                    f"initcheck: {describe(group, position)} reads memory that nobody has written, in {region.name}; "
                    f"{instruction}"
                )
        if kind != "read" and instruction.opcode != "ld":
            region.mark(offsets, size)
        self.race_check.access(kind, group, region, where, offsets, size, instruction)

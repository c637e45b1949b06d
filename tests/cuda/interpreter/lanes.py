"""Lanes: the threads of a chunk of blocks, executed side by side, and groups of them at the same instruction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .values import Value, view

if TYPE_CHECKING:
    from .executor import Executor

WARP = 32
Size = tuple[int, int, int]


class Launch(NamedTuple):
    grid: Size
    block: Size
    dynamic_shared: int
    parameters: np.ndarray  # the kernel's parameters as bytes

    @property
    def threads(self) -> int:
        """In a block."""
        return self.block[0] * self.block[1] * self.block[2]

    @property
    def blocks(self) -> int:
        return self.grid[0] * self.grid[1] * self.grid[2]


class Chunk:
    """Blocks first_block .. first_block + blocks - 1 of a launch: who is who among the lanes."""

    def __init__(self, launch: Launch, first_block: int, blocks: int) -> None:
        threads = launch.threads
        self.launch, self.first_block, self.blocks = launch, first_block, blocks
        self.threads = threads  # in a block
        self.size = threads * blocks
        self.lanes = np.arange(self.size)
        self.thread = self.lanes % threads
        self.block = self.lanes // threads
        self.warps_per_block = -(-threads // WARP)
        self.warps = self.warps_per_block * blocks
        self.warp = self.block * self.warps_per_block + self.thread // WARP
        self.lane_id = self.thread % WARP
        self.bit = (1 << self.lane_id).astype(np.uint32)  # of a lane in its warp's masks
        self._bit_weights = self.bit.astype(np.float64)

    def warp_masks(self, lanes: np.ndarray) -> np.ndarray:
        """One mask per warp: which of its lanes are among `lanes`. [warps]"""
        # bincount adds distinct powers of two in float64, which is exact, and several times as fast as bitwise_or.at
        return np.bincount(self.warp[lanes], self._bit_weights[lanes], self.warps).astype(np.uint32)

    def special_registers(self) -> dict[str, Value]:
        def split(index: np.ndarray, size: Size) -> Iterable[np.ndarray]:
            return index % size[0], index // size[0] % size[1], index // (size[0] * size[1])

        grid, block = self.launch.grid, self.launch.block
        one = np.int64(1)
        registers: dict[str, Value] = {
            "%laneid": self.lane_id,
            "%warpid": self.thread // WARP,
            "%lanemask_eq": one << self.lane_id,
            "%lanemask_lt": (one << self.lane_id) - 1,
            "%lanemask_le": (one * 2 << self.lane_id) - 1,
            "%lanemask_gt": ~((one * 2 << self.lane_id) - 1),
            "%lanemask_ge": ~((one << self.lane_id) - 1),
            "%smid": np.int64(0),
            "%dynamic_smem_size": np.int64(self.launch.dynamic_shared),
        }
        threads, blocks = split(self.thread, block), split(self.block + self.first_block, grid)
        for axis, thread, index, threads_along, blocks_along in zip("xyz", threads, blocks, block, grid, strict=True):
            registers[f"%tid.{axis}"] = thread if threads_along > 1 else np.int64(0)
            registers[f"%ctaid.{axis}"] = index if self.blocks > 1 else np.int64(index[0])
            registers[f"%ntid.{axis}"] = np.int64(threads_along)
            registers[f"%nctaid.{axis}"] = np.int64(blocks_along)
        return {name: value.astype(np.uint32) for name, value in registers.items()}

    def describe(self, lane: int) -> str:
        return f"block {self.first_block + self.block[lane]}, thread {self.thread[lane]}"


class Selection(dict):
    """Registers as some of the lanes see them: picked when they are first read."""

    def __init__(self, registers: dict[str, Value], where: np.ndarray) -> None:
        super().__init__()
        self._registers, self._where = registers, where

    def __missing__(self, name: str) -> Value:
        value = self._registers[name]
        if value.ndim:
            value = value.take(self._where)
        self[name] = value
        return value


class Group:
    """Lanes at the same instruction, and their registers."""

    __slots__ = ("executor", "is_whole", "lanes", "registers", "size")

    def __init__(self, executor: Executor, lanes: np.ndarray, registers: dict[str, Value], is_whole: bool) -> None:
        self.executor = executor
        self.lanes = lanes
        self.size = len(lanes)
        self.registers = registers
        self.is_whole = is_whole

    def spread(self, value: Value) -> np.ndarray:
        """One element per lane, also where all lanes hold the same."""
        return value if value.ndim else np.full(self.size, value)

    def narrow(self, where: np.ndarray) -> Group:
        """The lanes at positions `where`. What they write is taken over with `merge`."""
        return Group(self.executor, self.lanes.take(where), Selection(self.registers, where), False)

    def merge(self, part: Group, where: np.ndarray, written: Iterable[str]) -> None:
        for name in written:
            if dict.__contains__(part.registers, name):
                self.registers[name] = overwrite(self.spread(self.registers[name]).copy(), where, part.registers[name])


class RegisterFile(dict):
    """The registers of a whole chunk. The group of all lanes works on it directly, smaller ones through a Selection."""

    def __init__(self, size: int, initial: dict[str, Value]) -> None:
        super().__init__(initial)
        self._size = size
        self._owned: set[str] = set()  # arrays that nothing else refers to, so that they may be changed in place

    def disown(self) -> None:
        """To be called before a group works on the registers directly: a move makes two of them the same array."""
        self._owned.clear()

    def write_back(self, group: Group, written: set[str], needed: set[str]) -> None:
        """Takes over what a group has written, as far as somebody may still read it."""
        if group.is_whole:
            return
        for name in written & needed:
            value = group.registers.get(name)
            if value is None:
                continue  # written under a guard that no lane passed
            self.write(name, group.lanes, value)

    def write(self, name: str, lanes: np.ndarray, value: Value) -> None:
        if name not in self._owned:
            old = self[name]
            self[name] = old.copy() if old.ndim else np.full(self._size, old)
            self._owned.add(name)
        overwrite(self[name], lanes, value)


def overwrite(values: np.ndarray, where: np.ndarray, new: Value) -> np.ndarray:
    values[where] = view(new, values.dtype)
    return values

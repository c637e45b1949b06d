"""The race check: are two accesses to the same memory, of which one writes, ordered?

Only three things order the accesses of two threads: being the same thread, a block barrier, and a __syncwarp. Accesses
are numbered as they are executed. Barriers keep numbers too, so that "ordered" is a comparison: everything in my block
up to the number of the last barrier, everything in my warp up to the number of my last __syncwarp.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

from .errors import KernelError
from .lanes import WARP, Chunk, Group
from .memory import Region, sparse_zeros
from .ptx import Instruction
from .values import Value

_LANE_BITS = 16  # a record is the number of an access and the lane that made it
_LANE = (1 << _LANE_BITS) - 1
_CONFLICTS = {
    "read": ("write", "atomic"),
    "write": ("write", "atomic", "read", "other read"),
    "atomic": ("write", "read", "other read"),
}
_LOG_LIMIT = 1 << 21  # accesses


class Order:
    """What the barriers of one chunk have ordered so far."""

    def __init__(self, chunk: Chunk, first_access: int) -> None:
        self.chunk = chunk
        self.first_access = first_access  # of this chunk; earlier ones are other blocks'
        self.block_barrier = np.full(chunk.blocks, first_access - 1)
        self.warp_barrier = np.full(chunk.size, first_access - 1)
        self._known: np.ndarray | None = None  # [lanes, 32]: of barriers of a part of a warp
        self._part_barrier = np.full(chunk.size, first_access - 1)  # the last one of a part of the block
        self._part = np.arange(-chunk.size, 0)  # equal in lanes whose last such barrier is the same one
        self._parts = 0
        self.all_blocks = first_access - 1  # accesses up to this one are ordered before everything in their block

    def pass_block_barrier(self, blocks: np.ndarray, live: np.ndarray, now: int) -> None:
        self.block_barrier[blocks] = now
        self.all_blocks = int(self.block_barrier[live].min()) if live.any() else now

    def pass_part_barrier(self, lanes: np.ndarray, now: int) -> None:
        self._part_barrier[lanes] = now
        self._part[lanes] = self._parts
        self._parts += 1

    def pass_warp_barrier(self, lanes: np.ndarray, masks: Value, live: np.ndarray, now: int) -> None:
        chunk = self.chunk
        if (~masks & live[chunk.warp[lanes]] == 0).all():
            self.warp_barrier[lanes] = now
            return
        if self._known is None:
            self._known = np.full((chunk.size, WARP), self.first_access - 1)
        self._known[lanes, chunk.lane_id[lanes]] = now
        sets = chunk.warp[lanes] << WARP | masks.astype(np.int64)
        unique, which = np.unique(sets, return_inverse=True)
        merged = np.zeros((len(unique), WARP), np.int64)
        np.maximum.at(merged, which, self._known[lanes])
        self._known[lanes] = merged[which]

    def unordered(self, records: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Positions where the access on record and one by `lanes` now are not ordered."""
        accesses, others = records >> _LANE_BITS, records & _LANE
        where = np.flatnonzero((records != 0) & ((others != lanes) | (accesses < self.first_access)))
        if len(where) == 0:
            return where
        chunk, lanes, accesses = self.chunk, lanes[where], accesses[where]
        same_chunk = accesses >= self.first_access
        others = np.where(same_chunk, others[where], 0)
        ordered = accesses <= self.block_barrier[chunk.block[lanes]]
        ordered |= (self._part[lanes] == self._part[others]) & (accesses <= self._part_barrier[lanes])
        ordered &= chunk.block[others] == chunk.block[lanes]
        same_warp = chunk.warp[others] == chunk.warp[lanes]
        ordered |= same_warp & (accesses <= self.warp_barrier[lanes])
        if self._known is not None:
            ordered |= same_warp & (accesses <= self._known[lanes, chunk.lane_id[others]])
        return where[~(ordered & same_chunk)]


class Shadow:
    """The latest accesses to each cell of a region: last write, last atomic, and two readers."""

    def __init__(self, region: Region, is_shared: bool) -> None:
        self.region = region
        self.is_shared = is_shared
        self._cell = 0  # bytes; the smallest access so far
        self._records: dict[str, np.ndarray] = {}
        self.last = {"read": 0, "other read": 0, "write": 0, "atomic": 0}  # numbers of the latest accesses
        # Reads are noted, and entered only when somebody writes: most kernels never write what they read.
        self._log: list[tuple[Value, int, np.ndarray, int]] = []
        self._logged = 0

    def cells(self, offsets: Value, size: int, lanes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cells of accesses of `size` bytes, and the lanes, one for each cell."""
        self._refine(size)
        offsets = np.broadcast_to(offsets, lanes.shape)
        if size == self._cell:
            return offsets // size, lanes
        count = size // self._cell
        return np.add.outer(offsets // self._cell, np.arange(count)).reshape(-1), np.repeat(lanes, count)

    def _refine(self, size: int) -> None:
        if self._cell == 0:
            self._cell = size
        if size < self._cell:
            self._records = {kind: np.repeat(table, self._cell // size) for kind, table in self._records.items()}
            self._cell = size

    def records(self, kind: str) -> np.ndarray:
        if kind not in self._records:
            self._records[kind] = sparse_zeros(self.region.size // self._cell + 1, np.int64)
        return self._records[kind]

    def log_read(self, offsets: Value, size: int, lanes: np.ndarray, now: int) -> None:
        self._log.append((offsets, size, lanes, now))
        self._logged += len(lanes)
        self.last["read"] = self.last["other read"] = now

    @property
    def log_is_long(self) -> bool:
        return self._logged > _LOG_LIMIT

    def enter_reads(self, settled: int) -> None:
        """Enters the noted reads but for those up to number `settled`, with which nothing can conflict any more."""
        for offsets, size, lanes, now in self._log:
            if now <= settled:
                continue
            cells, cell_lanes = self.cells(offsets, size, lanes)
            latest, other = self.records("read"), self.records("other read")
            stamps = now << _LANE_BITS | cell_lanes
            before = latest.take(cells)
            changes = (before & _LANE) != cell_lanes
            other[cells[changes]] = before[changes]
            latest[cells] = stamps
            beaten = latest.take(cells) != stamps  # another lane read the same cell at the same time
            other[cells[beaten]] = stamps[beaten]
        self._log.clear()
        self._logged = 0


class RaceCheck:
    """The race check of one launch."""

    def __init__(self, launch_number: int) -> None:
        self.launch_number = launch_number
        self._instructions: list[Instruction | None] = [None]  # by access number
        self._chunks: list[tuple[int, Chunk]] = []
        self.order: Order
        self._single_block = False

    def begin(self, chunk: Chunk) -> None:
        self.order = Order(chunk, len(self._instructions))
        self._chunks.append((len(self._instructions), chunk))
        self._single_block = chunk.launch.blocks == 1

    @property
    def now(self) -> int:
        return len(self._instructions) - 1

    def _shadow(self, region: Region, is_shared: bool) -> Shadow:
        if region.shadow_launch != self.launch_number:
            region.shadow, region.shadow_launch = Shadow(region, is_shared), self.launch_number
        return region.shadow

    def access(
        self,
        kind: str,
        group: Group,
        region: Region,
        where: np.ndarray | None,
        offsets: Value,
        size: int,
        instruction: Instruction,
    ) -> None:
        self._instructions.append(instruction)
        now = self.now
        shadow = self._shadow(region, region is group.executor.shared.region)
        lanes = group.lanes if where is None else group.lanes[where]
        if kind == "read" and np.ndim(offsets) == 0:
            lanes = lanes[[0, -1]]  # two readers of one cell are all that is ever kept
        settled = self.order.all_blocks if shadow.is_shared or self._single_block else 0
        if kind == "read":
            shadow.log_read(offsets, size, lanes, now)
            if not shadow.log_is_long and all(shadow.last[other] <= settled for other in _CONFLICTS["read"]):
                return
        if kind != "read" or shadow.log_is_long:
            shadow.enter_reads(settled)
        cells, lanes = shadow.cells(offsets, size, lanes)
        for other in _CONFLICTS[kind]:
            if shadow.last[other] > settled:
                records = shadow.records(other).take(cells)
                unordered = self.order.unordered(records, lanes)
                if len(unordered):
                    i = unordered[0]
                    self._fail(kind, int(lanes[i]), now, other, int(records[i]), instruction, region)
        if kind == "read":
            return
        shadow.last[kind] = now
        stamps = now << _LANE_BITS | lanes
        table = shadow.records(kind)
        table[cells] = stamps
        if kind == "write":
            lost = np.flatnonzero(table.take(cells) != stamps)
            if len(lost):
                self._fail(kind, int(lanes[lost[0]]), now, kind, int(table[cells[lost[0]]]), instruction, region)

    def _fail(
        self, kind: str, lane: int, now: int, other: str, record: int, instruction: Instruction, region: Region
    ) -> None:
        access = record >> _LANE_BITS
        there = self._instructions[access]
        raise KernelError(
            f"racecheck: {kind} by {self._describe(lane, now)} and {other.split()[-1]} by "
            f"{self._describe(record & _LANE, access)} are not ordered, in {region.name}; {instruction}; {there}"
        )

    def _describe(self, lane: int, access: int) -> str:
        _, chunk = self._chunks[bisect_right(self._chunks, access, key=lambda entry: entry[0]) - 1]
        return chunk.describe(lane)

"""Block barriers: who waits where, and the synchronisation check."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .control import Barrier
from .errors import KernelError
from .lanes import Group
from .ptx import Instruction
from .values import Value

if TYPE_CHECKING:
    from .executor import Executor


class Arrival(NamedTuple):
    barrier: Barrier
    lanes: np.ndarray
    count: int | None  # threads that take part; None: the whole block
    predicate: np.ndarray | None


class Barriers:
    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self._arrivals: dict[int, list[Arrival]] = defaultdict(list)  # by the barrier's number

    def arrive(self, barrier: Barrier, group: Group) -> None:
        numbers = group.spread(barrier.identity(group))
        count = None if barrier.count is None else int(np.max(barrier.count(group)))
        predicate = group.spread(barrier.predicate(group)) if barrier.predicate else None
        for number in np.unique(numbers):
            here = numbers == number
            lanes = group.lanes[here]
            self._arrivals[int(number)].append(
                Arrival(barrier, lanes, count, predicate[here] if predicate is not None else None)
            )

    def release(self) -> bool:
        """Lets those blocks go on of which all threads have arrived. False where nobody can."""
        released = [self._release(number) for number in list(self._arrivals)]
        return any(released)

    def waiting(self) -> list[tuple[Instruction, np.ndarray]]:
        return [(a.barrier.instruction, a.lanes) for arrivals in self._arrivals.values() for a in arrivals]

    def _release(self, number: int) -> bool:
        arrivals, chunk = self._arrivals[number], self.executor.chunk
        if not arrivals:
            return False
        lanes = np.concatenate([a.lanes for a in arrivals])
        arrived = np.bincount(chunk.block[lanes], minlength=chunk.blocks)
        counts = {a.count for a in arrivals}
        if len(counts) > 1:
            raise KernelError(
                f"synccheck: barrier {number} with different numbers of threads; {arrivals[0].barrier.instruction}"
            )
        (count,) = counts
        expected = self.executor.live_threads if count is None else np.full(chunk.blocks, count)
        complete = (arrived > 0) & (arrived >= expected)
        if not complete.any():
            return False
        self._check(arrivals, complete, arrived, count)
        self._go(number, arrivals, complete, count)
        return True

    def _check(self, arrivals: list[Arrival], complete: np.ndarray, arrived: np.ndarray, count: int | None) -> None:
        chunk = self.executor.chunk
        exited = complete & (arrived < chunk.threads)
        if count is None and exited.any():
            block = int(exited.argmax())
            raise KernelError(
                f"synccheck: {chunk.threads - arrived[block]} of {chunk.threads} threads of block "
                f"{chunk.first_block + block} never reach a __syncthreads(); {arrivals[0].barrier.instruction}"
            )
        if count is None:
            self._check_same_place(arrivals, complete)

    def _check_same_place(self, arrivals: list[Arrival], complete: np.ndarray) -> None:
        chunk = self.executor.chunk
        barriers = list({id(a.barrier): a.barrier for a in arrivals}.values())
        if len(barriers) == 1:
            return
        place = np.full(chunk.blocks, -1)  # of a block: at which of the barriers it waits
        for i, barrier in enumerate(barriers):
            lanes = np.concatenate([a.lanes for a in arrivals if a.barrier is barrier])
            blocks = np.unique(chunk.block[lanes])
            twice = blocks[complete[blocks] & (place[blocks] >= 0)]
            if len(twice):
                raise KernelError(
                    f"synccheck: threads of block {chunk.first_block + twice[0]} wait at different barriers; "
                    f"{barrier.instruction}; {barriers[place[twice[0]]].instruction}"
                )
            place[blocks] = i

    def _go(self, number: int, arrivals: list[Arrival], complete: np.ndarray, count: int | None) -> None:
        executor, chunk = self.executor, self.executor.chunk
        executor.pass_block_barrier(np.concatenate([a.lanes for a in arrivals]), complete, count)
        self._arrivals[number] = []
        for arrival in arrivals:
            goes = complete[chunk.block[arrival.lanes]]
            if not goes.all():
                stays = ~goes
                predicate = arrival.predicate[stays] if arrival.predicate is not None else None
                self._arrivals[number].append(arrival._replace(lanes=arrival.lanes[stays], predicate=predicate))
            lanes = arrival.lanes[goes]
            if arrival.barrier.reduction:
                results = self._reduce(arrival.barrier, arrivals)
                executor.registers.write(arrival.barrier.instruction.operands[0], lanes, results[chunk.block[lanes]])
            if arrival.barrier.waits and len(lanes):
                executor.park(lanes, arrival.barrier.following)

    def _reduce(self, barrier: Barrier, arrivals: list[Arrival]) -> Value:
        """The result of a bar.red, one per block. Other blocks may wait elsewhere."""
        chunk = self.executor.chunk
        here = [a for a in arrivals if a.barrier is barrier]
        blocks = np.concatenate([chunk.block[a.lanes] for a in here])
        holds = np.bincount(blocks[np.concatenate([a.predicate for a in here])], minlength=chunk.blocks)
        if barrier.reduction == "popc":
            return holds.astype(np.uint32)
        return holds > 0 if barrier.reduction == "or" else holds == np.bincount(blocks, minlength=chunk.blocks)

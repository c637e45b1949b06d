"""Loads, stores and atomics."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import InterpreterError
from ..lanes import Group, overwrite
from ..memory import Space
from ..operands import Operands, Step, check_modifiers, vector
from ..ptx import Instruction
from ..values import Type, Value, pack, ptx_type, unpack
from .table import opcode

_SPACES = ("global", "const", "shared", "local", "param")
_STRONG = {"relaxed", "acquire", "release", "volatile", "acq_rel"}  # made for other threads: no race among them
_SCOPES = {"cta", "cluster", "gpu", "sys"}
_HINTS = {
    "nc", "weak", "ca", "cg", "cs", "cv", "lu", "wb", "wt", "L1::no_allocate", "L1::evict_first", "L1::evict_last",
    "L1::evict_normal", "L1::evict_unchanged", "L2::64B", "L2::128B", "L2::256B", "shared::cta",
}  # fmt: skip
_VECTORS = {"v2": 2, "v4": 4, "v8": 8}


def _space_of(instruction: Instruction) -> str:
    for modifier in instruction.modifiers:
        name = modifier.removesuffix("::cta")
        if name in _SPACES:
            return "global" if name == "const" else name
    return "generic"


def _spaces(group: Group, name: str) -> Space:
    return group.executor.spaces[name]


def _raw(instruction: Instruction) -> Type:
    return ptx_type(f"b{ptx_type(instruction.type).bits}")


def _check_memory_modifiers(instruction: Instruction, allowed: set[str]) -> None:
    check_modifiers(instruction, {instruction.type, *_SPACES, *_STRONG, *_SCOPES, *_HINTS, *allowed})


@opcode("ld", "ldu")
def load(operands: Operands, instruction: Instruction) -> Step:
    _check_memory_modifiers(instruction, set(_VECTORS))
    destinations, memory = instruction.operands
    writes = [operands.write(name, ptx_type(instruction.type)) for name in vector(destinations)]
    raw = _raw(instruction)
    space = _space_of(instruction)
    if space == "param":
        return _load_parameter(operands, instruction, writes, raw)
    address, dtype = operands.address(memory), raw.dtype
    width, total = dtype.itemsize, dtype.itemsize * len(writes)
    kind = "atomic" if _STRONG & set(instruction.modifiers) else "read"

    def run(group: Group) -> None:
        accesses = _spaces(group, space).resolve(group, address(group), total, instruction)
        for access in accesses:
            group.executor.check_access(kind, group, access, total, instruction)
        if len(accesses) == 1:
            region, _, offsets = accesses[0]
            index, data = offsets // width if width > 1 else offsets, region.view(dtype)
            for i, write in enumerate(writes):
                write(group, data.take(index + i if i else index))
            return
        for i, write in enumerate(writes):
            value = np.empty(group.size, dtype)
            for region, where, offsets in accesses:
                value[where] = region.view(dtype).take(offsets // width + i)
            write(group, value)

    return run


def _load_parameter(operands: Operands, instruction: Instruction, writes: list[Callable], raw: Type) -> Step:
    address, width = operands.address(instruction.operands[1]), raw.dtype.itemsize

    def run(group: Group) -> None:
        [(region, _, offsets)] = _spaces(group, "param").resolve(
            group, address(group), width * len(writes), instruction
        )
        for i, write in enumerate(writes):
            write(group, region.view(raw.dtype).take(offsets // width + i))

    return run


@opcode("st")
def store(operands: Operands, instruction: Instruction) -> Step:
    _check_memory_modifiers(instruction, set(_VECTORS))
    memory, sources = instruction.operands
    raw = _raw(instruction)
    reads = [operands.read(name, raw) for name in vector(sources)]
    address, space, dtype = operands.address(memory), _space_of(instruction), raw.dtype
    width, total = dtype.itemsize, dtype.itemsize * len(reads)
    kind = "atomic" if _STRONG & set(instruction.modifiers) else "write"

    def run(group: Group) -> None:
        values = [read(group) for read in reads]
        for access in _spaces(group, space).resolve(group, group.spread(address(group)), total, instruction):
            group.executor.check_access(kind, group, access, total, instruction)
            region, where, offsets = access
            index, data = offsets // width, region.view(dtype)
            for i, value in enumerate(values):
                data[index + i] = value if where is None or value.ndim == 0 else value[where]

    return run


Update = Callable[..., Value]

_UPDATES: dict[str, Update] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exch": lambda old, new: new,
    "cas": lambda old, expected, new: np.where(old == expected, new, old),
    "inc": lambda old, limit: np.where(old >= limit, old.dtype.type(0), old + old.dtype.type(1)),
    "dec": lambda old, limit: np.where((old == 0) | (old > limit), limit, old - old.dtype.type(1)),
}


def _update_of(type: Type, name: str) -> Update:
    update = _UPDATES[name]
    if type.needs_unpacking and name in ("add", "min", "max"):
        return lambda old, new: np.atleast_1d(pack(update(unpack(old, type), unpack(new, type)), type))
    if type.is_float and name in ("min", "max"):
        return np.fmin if name == "min" else np.fmax
    return update


@opcode("atom", "red")
def atomic(operands: Operands, instruction: Instruction) -> Step:
    """Lanes that meet at one place take turns, in the order in which they stand in the group."""
    _check_memory_modifiers(instruction, {*_UPDATES, "noftz"})
    destination, memory, *sources = (
        instruction.operands if instruction.opcode == "atom" else ("_", *instruction.operands)
    )
    if memory.startswith("{") or sources[0].startswith("{"):
        raise InterpreterError(f"the interpreter does not know vector atomics: {instruction}")
    type = ptx_type(instruction.type)
    name = next(m for m in instruction.modifiers if m in _UPDATES)
    update, space, size = _update_of(type, name), _space_of(instruction), type.bits // 8
    address, write = operands.address(memory), operands.write(destination, type)
    reads = [operands.read(source, type) for source in sources]

    def run(group: Group) -> None:
        values = [group.spread(read(group)) for read in reads]
        old = np.empty(group.size, type.dtype)
        for access in _spaces(group, space).resolve(group, group.spread(address(group)), size, instruction):
            group.executor.check_access("atomic", group, access, size, instruction, reads=name != "exch")
            data, index = access.region.view(type.dtype), access.offsets // size
            for turn in _turns(index):
                lanes = turn if access.where is None else access.where[turn]
                place = index[turn]
                old[lanes] = data[place]
                overwrite(data, place, update(old[lanes], *(value[lanes] for value in values)))
        write(group, old)

    return run


def _turns(index: np.ndarray) -> Iterator[np.ndarray]:
    """Positions in `index`, in as many rounds as the most frequent value needs."""
    order = np.argsort(index, kind="stable")
    placed = index[order]
    starts = np.flatnonzero(np.append(True, placed[1:] != placed[:-1]))
    if len(starts) == len(index):
        yield order
        return
    turn = np.arange(len(index)) - np.repeat(starts, np.diff(np.append(starts, len(index))))
    by_turn = np.argsort(turn, kind="stable")
    yield from np.split(order[by_turn], np.cumsum(np.bincount(turn))[:-1])


@opcode("membar", "fence", "prefetch", "prefetchu", "nanosleep", "discard", "griddepcontrol", "applypriority")
def nothing(operands: Operands, instruction: Instruction) -> Step:
    """Fences order nothing more than the interpreter does anyway; the others change speed alone."""
    return lambda group: None


@opcode("isspacep")
def is_in_space(operands: Operands, instruction: Instruction) -> Step:
    windows = {"global": 0, "shared": 1, "local": 2}
    wanted = windows[instruction.modifiers[0].removesuffix("::cta")]
    read, write = operands.read(instruction.operands[1], "s64"), operands.write(instruction.operands[0], "pred")
    return lambda group: write(group, read(group) >> np.int64(60) == wanted)

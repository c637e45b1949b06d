"""Device memory at real addresses, and the spaces through which instructions reach memory."""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from typing import NamedTuple, Protocol

import numpy as np

from .errors import KernelError
from .lanes import Group
from .ptx import Instruction
from .values import Value

GUARD = 1024  # bytes on either side of a buffer that no kernel may touch
ALIGNMENT = 256  # of what cudaMalloc returns
SHARED_WINDOW = 1 << 60  # where generic addresses of shared and of local memory begin
LOCAL_WINDOW = 1 << 61
_SPARSE = 1 << 28  # bytes from which an array is mapped, so that untouched pages cost nothing

_INITIALISED = {size: np.dtype(f"u{size}").type(int("01" * size, 16)) for size in (1, 2, 4, 8)}


def sparse_zeros(count: int, dtype: np.dtype | type) -> np.ndarray:
    """Zeros, of which only the touched pages take memory."""
    bytes_ = count * np.dtype(dtype).itemsize
    if bytes_ < _SPARSE:
        return np.zeros(count, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    return np.frombuffer(mmap.mmap(-1, bytes_, flags=flags), dtype)


class Region:
    """Bytes that instructions load and store, and which of them have been written."""

    def __init__(self, data: np.ndarray, name: str, base: int = 0, *, is_initialised: bool = False) -> None:
        self.data, self.name, self.base, self.size = data, name, base, len(data)
        self.end = base + self.size
        self.is_initialised = is_initialised  # as a whole, which saves looking at each byte
        self._written: np.ndarray | None = None
        self._views: dict[np.dtype, np.ndarray] = {}
        self.shadow = None  # of the race check
        self.shadow_launch = -1

    def view(self, dtype: np.dtype) -> np.ndarray:
        if dtype not in self._views:
            self._views[dtype] = self.data[: self.size // dtype.itemsize * dtype.itemsize].view(dtype)
        return self._views[dtype]

    @property
    def written(self) -> np.ndarray:
        """One byte per byte: 1 where it has been written."""
        if self._written is None:
            self._written = sparse_zeros(-(-self.size // 8) * 8, np.uint8)
            if self.is_initialised:
                self._written[: self.size] = 1
        return self._written[: self.size]

    def mark(self, offsets: Value, size: int) -> None:
        if self.is_initialised:
            return
        self.written  # noqa: B018  made on demand
        for part in range(0, size, 8):
            width = min(size, 8)
            self._written.view(f"u{width}")[(offsets + part) // width] = _INITIALISED[width]

    def unwritten(self, offsets: Value, size: int) -> np.ndarray | None:
        """Where in `offsets` something was never written."""
        if self.is_initialised:
            return None
        self.written  # noqa: B018  made on demand
        missing = np.zeros(np.shape(offsets), bool)
        for part in range(0, size, 8):
            width = min(size, 8)
            missing |= self._written.view(f"u{width}").take((offsets + part) // width) != _INITIALISED[width]
        return np.flatnonzero(missing) if missing.any() else None


class Access(NamedTuple):
    """Where in a region some lanes of a group go."""

    region: Region
    where: np.ndarray | None  # positions in the group; None: all
    offsets: Value


class Space(Protocol):
    def resolve(self, group: Group, addresses: Value, size: int, instruction: Instruction) -> list[Access]: ...


class DeviceMemory:
    """The global space: separate buffers, each between guards."""

    def __init__(self) -> None:
        self._regions: dict[int, Region] = {}  # by base
        self._bases: list[int] = []
        self._last: Region | None = None
        self._raw: dict[int, np.ndarray] = {}

    def allocate(self, size: int, name: str) -> Region:
        total = size + 2 * GUARD + ALIGNMENT
        raw = sparse_zeros(total, np.uint8)
        if total < _SPARSE:
            raw.fill(0xFF)  # NaN, or a wild index, for whoever reads too far or too early
        start = raw.ctypes.data + GUARD
        skip = GUARD + -start % ALIGNMENT
        region = Region(raw[skip : skip + size], name, raw.ctypes.data + skip)
        insort(self._bases, region.base)
        self._regions[region.base] = region
        self._raw[region.base] = raw
        return region

    def free(self, region: Region) -> None:
        """From now on the buffer is out of bounds. Freeing it twice does no harm."""
        if self._regions.get(region.base) is region:
            self._bases.remove(region.base)
            del self._regions[region.base], self._raw[region.base]
            self._last = None

    def region_at(self, address: int) -> Region | None:
        """The buffer that begins at or before `address`, whether or not it reaches so far."""
        index = bisect_right(self._bases, address) - 1
        return self._regions[self._bases[index]] if index >= 0 else None

    def span(self, address: int, size: int, what: str) -> tuple[Region, int]:
        """The buffer that holds all of [address, address + size), and the offset in it."""
        region = self.region_at(address)
        if region is None or address + size > region.end:
            raise KernelError(f"memcheck: {what} of {size} bytes outside of every buffer{_place(region, address)}")
        return region, address - region.base

    def resolve(self, group: Group, addresses: Value, size: int, instruction: Instruction) -> list[Access]:
        if addresses.ndim == 0:
            low = high = int(addresses)
        else:
            low, high = int(addresses.min()), int(addresses.max())
        region = self._last
        if region is None or low < region.base or high + size > region.end:
            region = self.region_at(low)
        if region is None or high + size > region.end:
            return self._resolve_each(group, group.spread(addresses), size, instruction)
        self._last = region
        offsets = addresses - np.int64(region.base)
        _check_alignment(group, offsets, size, instruction)
        return [Access(region, None, offsets)]

    def _resolve_each(self, group: Group, addresses: np.ndarray, size: int, instruction: Instruction) -> list[Access]:
        _check_alignment(group, addresses, size, instruction)
        index = np.searchsorted(np.array(self._bases, np.int64), addresses, "right") - 1
        accesses = []
        for i in np.unique(index):
            where = np.flatnonzero(index == i)
            region = self._regions[self._bases[i]] if i >= 0 else None
            outside = addresses[where] + size > (region.end if region else 0)
            if region is None or outside.any():
                lane = where[outside.argmax()]
                raise KernelError(
                    f"memcheck: {_noun(instruction)} of {size} bytes by {describe(group, lane)} outside of every buffer"
                    f"{_place(region, int(addresses[lane]))}; {instruction}"
                )
            accesses.append(Access(region, where, addresses[where] - region.base))
        return accesses


class LaneSpace:
    """Shared or local memory: one piece per block or per lane, all in one region."""

    def __init__(self, name: str, owners: np.ndarray, pieces: int, limit: int) -> None:
        self.owners = owners  # of a lane: which piece it sees
        self.limit = limit
        self.stride = -(-max(limit, 1) // 16) * 16
        self.region = Region(np.full(pieces * self.stride, 0xFF, np.uint8), f"{name} memory")

    def resolve(self, group: Group, addresses: Value, size: int, instruction: Instruction) -> list[Access]:
        if addresses.ndim == 0:
            low = high = int(addresses)
        else:
            low, high = int(addresses.min()), int(addresses.max())
        if low < 0 or high + size > self.limit:
            addresses = group.spread(addresses)
            lane = ((addresses < 0) | (addresses + size > self.limit)).argmax()
            raise KernelError(
                f"memcheck: {_noun(instruction)} of {size} bytes by {describe(group, lane)} at offset "
                f"{addresses[lane]} of {self.limit} bytes of {self.region.name}; {instruction}"
            )
        _check_alignment(group, addresses, size, instruction)
        return [Access(self.region, None, self.owners[group.lanes] * self.stride + addresses)]


class ParameterSpace:
    """The parameters of a launch, which kernels may index and only read."""

    def __init__(self, parameters: np.ndarray) -> None:
        self.region = Region(parameters, "the parameters", is_initialised=True)

    def resolve(self, group: Group, addresses: Value, size: int, instruction: Instruction) -> list[Access]:
        outside = (addresses < 0) | (addresses + size > self.region.size)
        if outside.any():
            lane = int(np.argmax(outside))
            raise KernelError(
                f"memcheck: {_noun(instruction)} of {size} bytes by {describe(group, lane)} outside of "
                f"{self.region.size} bytes of parameters; {instruction}"
            )
        _check_alignment(group, addresses, size, instruction)
        return [Access(self.region, None, addresses)]


class GenericSpace:
    """Addresses tell which space is meant."""

    def __init__(self, everywhere: Space, shared: Space, local: Space) -> None:
        self._spaces = ((everywhere, 0), (shared, SHARED_WINDOW), (local, LOCAL_WINDOW))

    def resolve(self, group: Group, addresses: Value, size: int, instruction: Instruction) -> list[Access]:
        windows = addresses >> np.int64(60)
        if windows.ndim == 0 or (windows == windows[0]).all():
            space, start = self._spaces[min(int(windows if windows.ndim == 0 else windows[0]), 2)]
            return space.resolve(group, addresses - np.int64(start), size, instruction)
        accesses = []
        for window, (space, start) in enumerate(self._spaces):
            where = np.flatnonzero(windows == window)
            if len(where) == 0:
                continue
            for access in space.resolve(group.narrow(where), addresses[where] - start, size, instruction):
                inner = where if access.where is None else where[access.where]
                accesses.append(Access(access.region, inner, access.offsets))
        return accesses


def describe(group: Group, position: int) -> str:
    return group.executor.chunk.describe(int(group.lanes[position]))


def _noun(instruction: Instruction) -> str:
    return {"ld": "load", "st": "store"}.get(instruction.opcode, "atomic")


def _place(region: Region | None, address: int) -> str:
    """Where an address lies relative to the nearest buffer below it."""
    if region is None:
        return ""
    return f"; offset {address - region.base} of {region.name}, which has {region.size} bytes"


def _check_alignment(group: Group, offsets: Value, size: int, instruction: Instruction) -> None:
    if size == 1:
        return
    remainder = offsets & np.int64(size - 1)
    if remainder.any():
        lane = int(np.argmax(remainder != 0))
        raise KernelError(
            f"memcheck: misaligned {_noun(instruction)} of {size} bytes by {describe(group, lane)}; {instruction}"
        )

"""Arrays in the memory of the pretended GPU, which the bindings take for torch tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .memory import DeviceMemory, Region

_NUMPY = {
    "torch.float16": np.float16, "torch.float32": np.float32, "torch.float64": np.float64, "torch.bfloat16": np.uint16,
    "torch.int32": np.int32, "torch.int64": np.int64, "torch.uint8": np.uint8, "torch.bool": np.bool_,
}  # fmt: skip
_TORCH = {np.dtype(dtype): name for name, dtype in _NUMPY.items() if name != "torch.bfloat16"}


class CudaDevice(NamedTuple):
    type: str = "cuda"
    index: int = 0


def dtype_name(dtype: object) -> str:
    """torch.float32, "torch.float32" and np.float32 are all called torch.float32."""
    return str(dtype) if str(dtype) in _NUMPY else _TORCH[np.dtype(dtype)]


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


class DeviceArray:
    """Has the attributes of a torch tensor that the bindings read. Strides count elements."""

    device = CudaDevice()

    def __init__(
        self, memory: DeviceMemory, region: Region, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        self._memory, self._region = memory, region
        self.dtype, self.shape, self._strides = dtype, shape, strides

    @classmethod
    def uninitialised(
        cls, memory: DeviceMemory, shape: tuple[int, ...], dtype: object, strides: tuple[int, ...] | None = None
    ) -> DeviceArray:
        shape, name = tuple(int(size) for size in shape), dtype_name(dtype)
        strides = dense_strides(shape) if strides is None else tuple(strides)
        extent = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        count = extent if math.prod(shape) else 0
        itemsize = np.dtype(_NUMPY[name]).itemsize
        region = memory.allocate(count * itemsize, f"a {name.removeprefix('torch.')} {list(shape)} array")
        return cls(memory, region, name, shape, strides)

    @classmethod
    def copy_of(
        cls, memory: DeviceMemory, values: np.ndarray, dtype: object = None, strides: tuple[int, ...] | None = None
    ) -> DeviceArray:
        """Keeps the strides of `values` where they are whole elements and not negative, unless others are given."""
        values = np.asarray(values)
        if strides is None and all(s >= 0 and s % values.itemsize == 0 for s in values.strides) and values.size:
            strides = tuple(s // values.itemsize for s in values.strides)
        array = cls.uninitialised(memory, values.shape, dtype or values.dtype, strides)
        if values.size:
            array._elements()[...] = values.view(array._numpy_dtype)
        array._region.is_initialised = True
        return array

    @property
    def _numpy_dtype(self) -> np.dtype:
        return np.dtype(_NUMPY[self.dtype])

    def _strided(self, data: np.ndarray) -> np.ndarray:
        strides = tuple(stride * data.itemsize for stride in self._strides)
        return np.lib.stride_tricks.as_strided(data, self.shape, strides)

    def _elements(self) -> np.ndarray:
        return self._strided(self._region.data.view(self._numpy_dtype))

    def numpy(self) -> np.ndarray:
        """A dense copy."""
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, self._numpy_dtype)
        return self._elements().copy()

    def initialised(self) -> np.ndarray:
        """For each element: has all of it been written?"""
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, bool)
        itemsize = self._numpy_dtype.itemsize
        written = self._region.written.reshape(-1, itemsize).all(axis=1)
        return self._strided(written).copy()

    @property
    def bytes(self) -> np.ndarray:
        """The memory itself, for tests that write into a part of a large array."""
        return self._region.data

    def free(self) -> None:
        self._memory.free(self._region)

    # torch's interface

    def stride(self) -> tuple[int, ...]:
        return self._strides

    def data_ptr(self) -> int:
        return self._region.base

    def permute(self, *axes: int) -> DeviceArray:
        """A view with other axes in front, as channels-last tensors are made."""
        shape, strides = (tuple(values[axis] for axis in axes) for values in (self.shape, self._strides))
        return DeviceArray(self._memory, self._region, self.dtype, shape, strides)

"""A pretended GPU: memory for arrays, and the launches of a library that is linked with runtime.cpp."""

from __future__ import annotations

import ctypes
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .arrays import DeviceArray
from .checks import RaceCheck
from .errors import InterpreterError, KernelError
from .executor import execute
from .lanes import Launch
from .memory import DeviceMemory
from .program import Program
from .ptx import Module

_ADD_MODULE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p)
_LAUNCH = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint),
    ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t,
)  # fmt: skip
_FILL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
_COPY = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_HOST_TO_DEVICE, _DEVICE_TO_DEVICE = 1, 3  # cudaMemcpyKind
_launch_numbers = itertools.count(1)


class Where(NamedTuple):
    stream: int
    device: int
    current_device: int


class Device:
    """Executes the kernels of one library. `check` raises what a launch found."""

    def __init__(self, path: str | Path) -> None:
        self.memory = DeviceMemory()
        self.executed = 0  # thread-instructions
        self.launches: list[str] = []  # readable names
        self._modules: dict[int, Module] = {}
        self._symbols: dict[int, dict[str, int]] = {}
        self._programs: dict[tuple[int, str], Program] = {}
        self._error: BaseException | None = None
        self._library = ctypes.CDLL(str(path))
        self._callbacks = (_ADD_MODULE(self._add_module), _LAUNCH(self._launch), _FILL(self._fill), _COPY(self._copy))
        self._library.fastmrcnn_interpreter_connect(*self._callbacks)
        self.check()

    def close(self) -> None:
        """From now on the library sees no device."""
        self._library.fastmrcnn_interpreter_connect(None, None, None, None)

    def check(self) -> None:
        """Raises the first error since the last call."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def where(self) -> Where:
        """The stream and the device of the last launch, and the device that is current now."""
        stream, device, current = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
        self._library.fastmrcnn_interpreter_where(ctypes.byref(stream), ctypes.byref(device), ctypes.byref(current))
        return Where(stream.value or 0, device.value, current.value)

    # Arrays

    def array(
        self, values: np.ndarray, dtype: str | None = None, strides: tuple[int, ...] | None = None
    ) -> DeviceArray:
        return DeviceArray.copy_of(self.memory, values, dtype, strides)

    def empty(self, shape: tuple[int, ...], dtype: object, strides: tuple[int, ...] | None = None) -> DeviceArray:
        return DeviceArray.uninitialised(self.memory, shape, dtype, strides)

    def sparse(self, size: int) -> DeviceArray:
        """`size` zero bytes, of which only the touched pages take memory."""
        region = self.memory.allocate(size, f"{size} sparse bytes")
        region.is_initialised = True
        return DeviceArray(self.memory, region, "torch.uint8", (size,), (1,))

    # What the library calls. An exception must not cross into C++: it is kept for `check`.

    def _add_module(self, number: int, text: bytes) -> None:
        try:
            self._modules[number] = module = Module(text.decode())
            symbols = self._symbols[number] = {}
            for name, values in module.variables.items():
                region = self.memory.allocate(values.nbytes, f"variable {name}")
                region.data[:] = values.view(np.uint8)
                region.is_initialised = True
                symbols[name] = region.base
        except BaseException as error:
            self._keep(error)

    def _launch(self, number: int, name: bytes, readable: bytes, sizes, arguments, dynamic_shared: int) -> int:
        try:
            self._execute(number, name.decode(), readable.decode(), list(sizes[:6]), arguments, dynamic_shared)
        except BaseException as error:
            self._keep(error)
            return 1
        return 0

    def _execute(self, number: int, name: str, readable: str, sizes: list[int], arguments, dynamic_shared: int) -> None:
        self.launches.append(readable)
        if (number, name) not in self._programs:
            self._programs[number, name] = Program(self._modules[number], name, self._symbols[number])
        program = self._programs[number, name]
        layout = program.kernel.parameters.values()
        parameters = np.zeros(sum(layout[-1]) if (layout := list(layout)) else 0, np.uint8)
        for i, (offset, size) in enumerate(layout):
            parameters[offset : offset + size] = np.frombuffer(ctypes.string_at(arguments[i], size), np.uint8)
        launch = Launch(tuple(sizes[:3]), tuple(sizes[3:]), dynamic_shared, parameters)
        race_check = None if is_from_cub(readable) else RaceCheck(next(_launch_numbers))
        try:
            self.executed += execute(program, launch, self.memory, race_check)
        except KernelError as error:
            raise KernelError(f"{readable}: {error}") from error
        except InterpreterError as error:
            raise InterpreterError(f"{readable}: {error}") from error

    def _fill(self, to: int | None, value: int, size: int) -> int:
        try:
            if size:
                region, offset = self.memory.span(to or 0, size, "cudaMemsetAsync")
                region.data[offset : offset + size] = value & 0xFF
                if not region.is_initialised:
                    region.written[offset : offset + size] = 1
        except BaseException as error:
            self._keep(error)
            return 1
        return 0

    def _copy(self, to: int | None, source: int | None, size: int, kind: int) -> int:
        try:
            if size:
                self._copy_to_device(to or 0, source or 0, size, kind)
        except BaseException as error:
            self._keep(error)
            return 1
        return 0

    def _copy_to_device(self, to: int, source: int, size: int, kind: int) -> None:
        region, offset = self.memory.span(to, size, "cudaMemcpyAsync")
        if kind == _HOST_TO_DEVICE:
            region.data[offset : offset + size] = np.frombuffer(ctypes.string_at(source, size), np.uint8)
            region.written[offset : offset + size] = 1
        elif kind == _DEVICE_TO_DEVICE:
            from_region, start = self.memory.span(source, size, "cudaMemcpyAsync")
            region.data[offset : offset + size] = from_region.data[start : start + size]
            region.written[offset : offset + size] = from_region.written[start : start + size]
            region.is_initialised = region.is_initialised and from_region.is_initialised
        else:
            raise KernelError("cudaMemcpyAsync to the host: operators leave their results on the device")

    def _keep(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error


def is_from_cub(readable: str) -> bool:
    """CUB's kernels rely on warps in step and on blocks that wait for each other: only their bounds are checked."""
    name = readable.split("(")[0].split("<")[0].removeprefix("void ")
    return name.startswith(("cub::", "thrust::"))

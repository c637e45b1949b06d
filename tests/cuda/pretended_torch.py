"""torch with a GPU, as direct calls see it: tensors in the interpreter's memory behind DLPack's exchange API.

Direct calls read and allocate torch's tensors through a table of C functions (bindings/exchange.h). Here that table is
made of Python functions, so that calls on CUDA tensors run from end to end without a GPU.
"""

from __future__ import annotations

import ctypes
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.cuda.interpreter import Device
from tests.cuda.interpreter.arrays import DeviceArray

CUDA = 2  # DLDeviceType
CODES = {
    torch.float32: (2, 32), torch.float64: (2, 64), torch.float16: (2, 16), torch.bfloat16: (4, 16),
    torch.int32: (0, 32), torch.int64: (0, 64),
}  # fmt: skip
DTYPES = {code: dtype for dtype, code in CODES.items()}


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int), ("device_id", ctypes.c_int), ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class Managed(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", DLTensor),
    )  # fmt: skip


ALLOCATE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(DLTensor), ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p, ctypes.c_void_p
)
TO_PYTHON = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Managed), ctypes.POINTER(ctypes.c_void_p))
DESCRIBE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DLTensor))
STREAM = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p))
DELETE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class Table(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("previous", ctypes.c_void_p), ("allocate", ALLOCATE),
        ("from_python", ctypes.c_void_p), ("to_python", TO_PYTHON), ("describe", DESCRIBE), ("stream", STREAM),
    )  # fmt: skip


class PretendedTensor:
    """On CUDA device `index`."""

    is_meta = requires_grad = False

    def __init__(
        self, array: DeviceArray, dtype: torch.dtype, shape: list[int], strides: list[int], index: int
    ) -> None:
        self.array, self.dtype, self.index = array, dtype, index
        self.shape, self.strides = ((ctypes.c_int64 * len(shape))(*values) for values in (shape, strides))

    def is_neg(self) -> bool:
        return False

    def cpu(self) -> Tensor:
        values = torch.from_numpy(self.array.numpy()).flatten()
        return values.as_strided(tuple(self.shape), tuple(self.strides))


class PretendedTorch:
    """Introduced to `module` in place of torch. `streams` are the current ones of its devices."""

    def __init__(self, module: ModuleType, device: Device) -> None:
        self.device = device
        self.streams = {0: 0x100, 1: 0x200}
        self._new: dict[int, tuple[DeviceArray, Managed, Any]] = {}  # by address of the data
        version = (1, 3)
        self._table = Table(
            *version, None, ALLOCATE(self._allocate), None, TO_PYTHON(self._to_python), DESCRIBE(self._describe),
            STREAM(self._stream),
        )  # fmt: skip
        make_capsule = ctypes.pythonapi.PyCapsule_New
        make_capsule.restype, make_capsule.argtypes = (
            ctypes.py_object,
            (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
        )
        PretendedTensor.__dlpack_c_exchange_api__ = make_capsule(  # type: ignore[attr-defined]
            ctypes.addressof(self._table), b"dlpack_exchange_api", None
        )
        pretended: Any = ModuleType("torch")
        pretended.Tensor, pretended.nn = PretendedTensor, ModuleType("torch.nn")
        pretended.nn.Parameter = PretendedTensor
        pretended.is_grad_enabled, pretended.get_num_threads = lambda: False, lambda: 1
        module.introduce_torch(pretended, (), {"_current_level": -1})

    def tensor(self, values: Tensor, index: int = 0) -> PretendedTensor:
        """A copy of a dense tensor, in its order."""
        flat = values.as_strided((values.numel(),), (1,))
        array = self.device.array(flat.numpy())
        return PretendedTensor(array, values.dtype, list(values.shape), list(values.stride()), index)

    def _describe(self, tensor: PretendedTensor, out: Any) -> int:
        code, bits = CODES[tensor.dtype]
        out[0] = DLTensor(
            tensor.array.data_ptr(), CUDA, tensor.index, len(tensor.shape), code, bits, 1,
            ctypes.cast(tensor.shape, ctypes.POINTER(ctypes.c_int64)),
            ctypes.cast(tensor.strides, ctypes.POINTER(ctypes.c_int64)), 0,
        )  # fmt: skip
        return 0

    def _allocate(self, prototype: Any, out: Any, _: Any, __: Any) -> int:
        wanted = prototype[0]
        shape = (ctypes.c_int64 * wanted.ndim)(*wanted.shape[: wanted.ndim])
        array = self.device.empty(tuple(shape), DTYPES[wanted.code, wanted.bits])
        managed = Managed(1, 3, None, None, 0, wanted)
        managed.tensor.data = array.data_ptr()
        managed.tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
        self._new[array.data_ptr()] = (array, managed, shape)
        out[0] = ctypes.addressof(managed)
        return 0

    def _to_python(self, given: Any, out: Any) -> int:
        managed = given[0]
        tensor, dtype = managed.tensor, DTYPES[managed.tensor.code, managed.tensor.bits]
        array = self._new[tensor.data][0]
        shape = tensor.shape[: tensor.ndim]
        strides = tensor.strides[: tensor.ndim] if tensor.strides else list(torch.empty(shape).stride())
        made = PretendedTensor(array, dtype, shape, strides, tensor.device_id)
        if managed.deleter:
            DELETE(managed.deleter)(ctypes.addressof(managed))
        del self._new[made.array.data_ptr()]
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))
        out[0] = id(made)
        return 0

    def _stream(self, device_type: int, index: int, out: Any) -> int:
        assert device_type == CUDA
        out[0] = self.streams[index]
        return 0

"""Runs the public operators on a device: a real GPU, or the interpreter behind the functions of the native module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from fastmrcnn import _C
from fastmrcnn.ops import _library

# How many of the tensors, or lists of them, that end the signature of a native function it writes, workspace included.
# Their memory is handed over uninitialised. A function that is absent has one.
OUTPUTS = {
    "crop_encoded_masks": 2,
    "generate_proposals": 4,
    "match_boxes": 2,
    "multiscale_roi_align_backward": 2,
    "nms": 3,
    "paste_masks_rle": 2,
    "roi_align_backward": 2,
    "roi_pool": 2,
    "select_detections": 6,
    "soft_nms": 4,
}

# As what the interpreter's arrays hold a type that numpy lacks: nothing computes with it there.
BITS = {torch.bfloat16: torch.float16}


class TestDevice(Protocol):
    """Where a test runs an operator. Tensors go in and come out on the CPU."""

    __test__ = False  # no class of tests, whatever its name
    name: str

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls a public function with its tensors on the device and brings its result back."""

    def native(self, name: str, *arguments: Any) -> None:
        """Calls a native function; what it writes is in its arguments afterwards."""


class Gpu:
    """The first CUDA device of torch."""

    name = "gpu"

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        arguments, options = tree_map_only(Tensor, lambda tensor: tensor.cuda(), (arguments, options))
        result = function(*arguments, **options)
        torch.cuda.synchronize()
        return tree_map_only(Tensor, lambda tensor: tensor.cpu(), result)

    def native(self, name: str, *arguments: Any) -> None:
        moved = tree_map_only(Tensor, lambda tensor: tensor.cuda(), arguments)
        getattr(_C, name)((1, torch.cuda.current_stream().cuda_stream), *moved)
        torch.cuda.synchronize()
        for before, after in zip(tree_leaves(arguments), tree_leaves(moved), strict=True):  # lists of outputs too
            if isinstance(before, Tensor):
                before.copy_(after)


class Interpreted:
    """The interpreter. In `run`, the operators believe that tensors of the CPU are on a CUDA device."""

    name = "interpreted"

    def __init__(self, module: ModuleType, device: Any) -> None:
        self.module = module
        self.device = device
        self.kernels = [name for name in module.cuda_kernels if hasattr(_C, name)]

    def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with self._substituted():
            return function(*arguments, **options)

    def native(self, name: str, *arguments: Any) -> None:
        writes = OUTPUTS.get(name, 1)
        tensors = [k for k, argument in enumerate(arguments) if _holds_tensors(argument)]
        written = set(tensors[-writes:])
        moved = [self._move(argument, fresh=k in written) for k, argument in enumerate(arguments)]
        try:
            getattr(self.module, name)((1, 0), *moved)
            self.device.check()
            for k in written:
                for after, before in zip(_listed(moved[k]), _listed(arguments[k]), strict=True):
                    after.copy_to(before)
        except RuntimeError:
            self.device.check()  # knows better what failed
            raise
        finally:
            for tensor in moved:
                for one in _listed(tensor):
                    if isinstance(one, OnDevice):
                        one.storage.free()

    def _move(self, argument: Any, *, fresh: bool) -> Any:
        if isinstance(argument, np.ndarray):
            argument = torch.from_numpy(argument)
        if isinstance(argument, Tensor):
            return OnDevice(self.device, argument, fresh=fresh)
        if isinstance(argument, list | tuple):
            return [self._move(item, fresh=fresh) for item in argument]
        return argument

    @contextmanager
    def _substituted(self) -> Iterator[None]:
        own = {name: self._caller(name) for name in self.kernels}
        # Sizes of workspaces, which a build without CUDA lacks.
        own |= {name: getattr(self.module, name) for name in vars(self.module) if name.endswith("_workspace")}
        with ExitStack() as stack:
            for name, function in own.items():
                stack.enter_context(mock.patch.object(_C, name, function, create=True))
            stack.enter_context(mock.patch.object(_library, "CUDA_TYPES", ("cuda", "cpu")))
            _C.allow_direct_calls(False)  # which the interpreter does not replace
            stack.callback(_C.allow_direct_calls, True)
            yield

    def _caller(self, name: str) -> Callable[..., None]:
        return lambda context, *arguments: self.native(name, *arguments)


WIDEST_ACCESS = 16  # bytes that an instruction moves


class OnDevice:
    """A tensor's copy in the interpreter's memory, with what the native module reads of a tensor."""

    device = SimpleNamespace(type="cuda", index=0)

    def __init__(self, device: Any, tensor: Tensor, *, fresh: bool) -> None:
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype
        self._strides = tuple(tensor.stride())
        extent = (
            0 if tensor.numel() == 0 else 1 + sum((n - 1) * s for n, s in zip(self.shape, self._strides, strict=True))
        )
        values = _bits(tensor.detach()).as_strided((extent,), (1,)).numpy()
        # No better aligned than the tensor: kernels move several values at once where they can.
        self._before = tensor.data_ptr() % WIDEST_ACCESS // tensor.element_size() if extent > 0 else 0
        if fresh:
            self.storage = device.empty((self._before + extent,), values.dtype)
        else:
            self.storage = device.array(np.concatenate((np.zeros(self._before, values.dtype), values)))

    def stride(self) -> tuple[int, ...]:
        return self._strides

    def data_ptr(self) -> int:
        return int(self.storage.data_ptr()) + self._before * self.dtype.itemsize

    def copy_to(self, tensor: Tensor | np.ndarray) -> None:
        """Writes what is here to a tensor of the same shape and strides."""
        tensor = torch.from_numpy(tensor) if isinstance(tensor, np.ndarray) else tensor
        values = torch.from_numpy(self.storage.numpy()[self._before :])
        _bits(tensor.detach()).as_strided(values.shape, (1,)).copy_(values)


def _listed(argument: Any) -> list[Any]:
    return argument if isinstance(argument, list) else [argument]


def _holds_tensors(argument: Any) -> bool:
    listed = _listed(argument)
    return bool(listed) and all(isinstance(one, Tensor | np.ndarray) for one in listed)


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(BITS[tensor.dtype]) if tensor.dtype in BITS else tensor


def assert_alike(ours: Any, expected: Any) -> None:
    """Nested results of an operator: indices, flags and texts equal, numbers within the rounding of their dtype."""
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}
    flat, expected_flat = tree_leaves(ours), tree_leaves(expected)
    assert len(flat) == len(expected_flat)
    for one, other in zip(flat, expected_flat, strict=True):
        if not isinstance(one, Tensor):
            assert one == other
        else:
            bound = tolerance.get(one.dtype, 0.0)
            torch.testing.assert_close(one, other, rtol=bound, atol=bound, equal_nan=True)

"""A pair of modes under which everything fails that would make the host wait for a GPU, on any device.

On a GPU, ``torch.cuda.set_sync_debug_mode("error")`` says the same; but mistakes are to be found without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# torch tags what reads values or has outputs whose shape depends on them; these it does not.
UNTAGGED = {"aten::equal", "aten::is_nonzero", "aten::item", "fastmrcnn::nms", "fastmrcnn::soft_nms"}
# Methods that read a CPU tensor's memory past the dispatcher, and would wait for a GPU.
READERS = (Tensor.tolist, Tensor.numpy, Tensor.__array__)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        waits = name in UNTAGGED or {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape} & set(func.tags)
        if name in ("aten::index", "aten::index_put", "aten::index_put_"):
            waits = any(index.dtype in (torch.bool, torch.uint8) for index in tree_leaves(args[1]) if index is not None)
        if name == "aten::_to_copy":
            waits = _copies_between_devices(args[0].device, kwargs) and not kwargs.get("non_blocking")
        if name.startswith("fastmrcnn::"):  # torch checks this for its own operators only
            devices = {leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            assert len(devices) <= 1, f"{name}: tensors on {devices}"
        if waits:
            raise AssertionError(f"{name} makes the host wait")
        return func(*args, **kwargs)


def _copies_between_devices(source: torch.device, kwargs: dict[str, Any]) -> bool:
    target = kwargs.get("device")
    return target is not None and torch.device(target).type != source.type


class _Functions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in READERS:
            raise AssertionError(f"Tensor.{func.__name__} makes the host wait")
        # Python numbers are copied to a GPU from pageable memory, and the copy is waited for.
        if func is Tensor.new_tensor and not isinstance(args[1], Tensor):
            raise AssertionError("Tensor.new_tensor makes the host wait")
        if func in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu").type != "cpu":
            raise AssertionError(f"torch.{func.__name__} makes the host wait")
        return func(*args, **kwargs)


@contextmanager
def no_waiting() -> Iterator[None]:
    """AssertionError for whatever would make the host wait for a GPU."""
    with _Operators(), _Functions():
        yield


class Transformed(torch.nn.Module):
    """In place of a model's transform: its results, made beforehand."""

    def __init__(self, batch: Any, objects: Any) -> None:
        super().__init__()
        self.batch, self.objects = batch, objects

    def forward(self, images: Any, random: Any = None) -> Any:
        return self.batch

    def targets(self, targets: Any, batch: Any, random: Any = None) -> Any:
        return self.objects


@contextmanager
def imagined_gpu() -> Iterator[None]:
    """Tensors on "cuda" that have shapes and devices, but no values; two devices in one operator are an error."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            torch.rand(2, device="cuda")[:1]
        except RuntimeError as error:
            pytest.skip(f"this build of torch cannot imagine a GPU: {str(error).splitlines()[0]}")
        yield

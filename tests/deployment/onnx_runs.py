"""One of our operators in ONNX Runtime."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import onnx
import onnxruntime
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import fastmrcnn.deployment.detector  # noqa: F401  # registers the operator that resizes
from fastmrcnn.deployment.onnx_file import translate


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class InOnnx:
    """``function`` translated for inputs like ``inputs``, whose sizes named in ``dynamic`` may change."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[Any, ...], dynamic: Any = None) -> None:
        names = [f"input_{index}" for index in range(len(pytree.tree_leaves(inputs)))]
        outputs = [f"output_{index}" for index in range(len(pytree.tree_leaves(function(*inputs))))]
        shapes = None if dynamic is None else (dynamic,)  # of the one starred argument
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(Call(function), inputs, dynamic_shapes=shapes, strict=False)
        self.model = translate(program, names, outputs)
        onnx.checker.check_model(self.model, full_check=True)
        self.session = onnxruntime.InferenceSession(self.model.SerializeToString(), providers=["CPUExecutionProvider"])
        self.names = names

    def __call__(self, *inputs: Any) -> list[Tensor]:
        leaves = pytree.tree_leaves(inputs)
        taken = {port.name for port in self.session.get_inputs()}
        feeds = {name: leaf.numpy() for name, leaf in zip(self.names, leaves, strict=True) if name in taken}
        return [torch.from_numpy(output) for output in self.session.run(None, feeds)]


def assert_same(found: list[Tensor], expected: Any, tolerance: float = 1e-4) -> None:
    for one, other in zip(found, pytree.tree_leaves(expected), strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, atol=tolerance, rtol=1e-5)

"""Small pieces of ONNX graphs that several translations share.

The functions of :mod:`.onnx_boxes`, :mod:`.onnx_pooling` and :mod:`.onnx_keypoints` have the arguments of the torch
operators that they stand for and write nodes of opset 18 into the graph that torch's exporter is building. A tensor is
a value of that graph; numbers of candidates are known when it runs, so that none at all is no special case.
"""

from __future__ import annotations

from typing import Any

from onnx import TensorProto, numpy_helper
from onnxscript import opset18
from torch import Tensor

OPSET = 18  # the first whose Resize has a low-pass
op: Any = opset18  # whose own types are those of arrays, not of values in a graph
DOUBLE, FLOAT, INT64, UINT8 = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
Value = Any  # of the graph


def ints(*numbers: int) -> Value:
    """[N] int64"""
    return op.Constant(value_ints=numbers)


def number(value: float) -> Value:
    """A float32 scalar."""
    return op.Constant(value_float=value)


def constant(values: Tensor) -> Value:
    """A tensor that is part of the file."""
    return op.Constant(value=numpy_helper.from_array(values.detach().numpy()))


def size_of(tensor: Value, axis: int) -> Value:
    """The length of one axis, [1] int64."""
    return op.Shape(tensor, start=axis, end=axis + 1)


def counting(length: Value) -> Value:
    """0, 1, .. as int64. length: [1] int64."""
    return op.Range(op.Constant(value_int=0), op.Squeeze(length), op.Constant(value_int=1))


def as_float(values: Value) -> Value:
    return op.Cast(values, to=FLOAT)


def columns(boxes: Value, first: int, last: int) -> Value:
    """[..., first:last] of the last axis."""
    return op.Slice(boxes, ints(first), ints(last), ints(-1))

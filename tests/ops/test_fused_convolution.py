"""Convolutions with what follows them fused: a convolution's results, and where torch's own computes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn.ops import fused_convolution
from fastmrcnn.ops.fused_convolution import FusedConv2d, fusion_problem

pytestmark = pytest.mark.skipif(fusion_problem() is not None, reason="this torch has no oneDNN")

LAYERS = {
    "1x1": {"kernel_size": 1},
    "1x1 of stride 2": {"kernel_size": 1, "stride": 2},
    "stem": {"kernel_size": 7, "stride": 2, "padding": 3},
    "dilated groups": {"kernel_size": 3, "padding": 2, "dilation": 2, "groups": 4, "bias": False},
}


def layer_of(name: str) -> nn.Conv2d:
    return nn.Conv2d(8, 24, **LAYERS[name]).requires_grad_(False)  # type: ignore[arg-type]


def map_of(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


def in_double(conv: nn.Conv2d, input: Tensor) -> Tensor:
    return copy.deepcopy(conv).double()(input.double())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("relu", [True, False])
def test_output_is_that_of_a_convolution_in_float64(name: str, relu: bool) -> None:
    conv, input = layer_of(name), map_of(2, 8, 21, 30)
    fused, before, expected = FusedConv2d(conv), input.clone(), in_double(conv, input)
    found = fused(input, relu)
    torch.testing.assert_close(found.double(), expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
    assert found.is_contiguous(memory_format=torch.channels_last)
    other = torch.randn_like(found)
    expected = expected + other
    sums = fused.add_to(other, input, relu=relu)
    assert sums.data_ptr() == other.data_ptr()
    torch.testing.assert_close(sums.double(), expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(input, before)


@pytest.mark.parametrize("shape", [(0, 8, 5, 5), (1, 8, 1, 1), (1, 8, 1, 40)])
def test_maps_of_unusual_shapes(shape: tuple[int, ...]) -> None:
    conv, input = layer_of("1x1"), map_of(*shape)
    expected = conv(input).relu()
    torch.testing.assert_close(FusedConv2d(conv)(input, relu=True), expected)
    other = torch.zeros_like(expected)
    torch.testing.assert_close(FusedConv2d(conv).add_to(other, input, relu=True), expected)


@pytest.mark.parametrize("why", ["gradient of the input", "channels-first", "bfloat16", "autocast", "compiled"])
def test_where_torch_computes(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("oneDNN was called")

    conv, input = layer_of("1x1"), map_of(1, 8, 9, 10)
    if why == "gradient of the input":
        input.requires_grad_()
    elif why == "channels-first":
        input = input.contiguous()
    elif why == "bfloat16":
        conv, input = conv.bfloat16(), input.bfloat16()
    fused, other = FusedConv2d(conv), torch.randn(1, 24, 9, 10).to(input.dtype)

    def both(input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        return fused(input, relu=True), fused.add_to(other, input, relu=True)

    monkeypatch.setattr(FusedConv2d, "_geometry", refused)
    run = torch.compile(both, fullgraph=True, backend="aot_eager") if why == "compiled" else both
    with torch.autocast("cpu", enabled=why == "autocast"):
        rectified, sums = run(input, other)
        assert torch.equal(rectified, F.relu(conv(input)))
        assert torch.equal(sums, F.relu(conv(input).add_(other)))
    if why == "gradient of the input":
        sums.sum().backward()
        assert input.grad is not None


def test_copies_and_pickles_keep_their_parameters() -> None:
    fused, input = FusedConv2d(layer_of("stem")), map_of(1, 8, 16, 16)
    for twin in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert torch.equal(twin(input, relu=True), fused(input, relu=True))


def test_a_torch_without_them_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fusion_problem() is None
    monkeypatch.setattr(fused_convolution.torch.ops, "mkldnn", object())
    assert fusion_problem() == "'object' object has no attribute '_convolution_pointwise'"

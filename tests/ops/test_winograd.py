"""Winograd's convolution for inference: a convolution's results, and where torch's own computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastmrcnn import _C
from fastmrcnn.ops import winograd
from fastmrcnn.ops.winograd import WinogradConv2d, suits_winograd, winograd_conv3x3, winograd_weights

RELATIVE = 1e-5  # of the norm; the filtering errs by 2e-6
# N, C, H, W: one tile, parts of tiles, and more than one run of tiles on several threads
SHAPES = [(1, 16, 1, 1), (2, 64, 37, 41), (1, 80, 3, 300), (30, 64, 14, 14), (1, 272, 23, 9)]


def operands(shape: tuple[int, ...], outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Input, weights and bias of a convolution."""
    input = torch.randn(shape).to(memory_format=torch.channels_last)
    return input, torch.randn(outputs, shape[1], 3, 3) / (3 * shape[1] ** 0.5), torch.randn(outputs)


def assert_near(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).norm() <= RELATIVE * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outputs", [16, 64, 80])  # half a block, whole blocks, blocks and a half
@pytest.mark.parametrize("relu", [True, False])
def test_output_is_that_of_a_convolution_in_float64(shape: tuple[int, ...], outputs: int, relu: bool) -> None:
    input, weight, bias = operands(shape, outputs)
    expected = F.conv2d(input.double(), weight.double(), bias.double(), padding=1)
    found = winograd_conv3x3(input, winograd_weights(weight), bias, outputs, relu=relu)
    assert_near(found, expected.relu() if relu else expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    unbiased = winograd_conv3x3(input.contiguous(), winograd_weights(weight), None, outputs)
    assert_near(unbiased, F.conv2d(input.double(), weight.double(), padding=1))


def test_threads_and_runs_of_tiles_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    input, weight, bias = operands((3, 64, 30, 30), 64)
    whole = winograd_conv3x3(input, winograd_weights(weight), bias, 64)
    for group in (1, 5):
        monkeypatch.setattr(winograd, "GROUP", group)
        for threads in (1, 3):
            monkeypatch.setattr(winograd, "context", lambda _, threads=threads: (threads, 0))
            assert torch.equal(winograd_conv3x3(input, winograd_weights(weight), bias, 64), whole)


def test_what_is_not_finite_stays_so_and_spoils_its_tiles_alone() -> None:
    input, weight, bias = operands((1, 64, 24, 24), 64)
    input[0, 3, 10, 10] = torch.nan
    found = winograd_conv3x3(input, winograd_weights(weight), bias, 64, relu=True)[0]
    assert found[:, 9:12, 9:12].isnan().all()
    found[:, 8:16, 8:16] = 0
    assert found.isfinite().all()


def test_an_empty_batch_gives_an_empty_output() -> None:
    weight = winograd_weights(torch.ones(64, 64, 3, 3))
    assert winograd_conv3x3(torch.ones(0, 64, 14, 14), weight, None, 64).shape == (0, 64, 14, 14)


def test_the_operator_is_registered_as_torch_wants_it() -> None:
    input, weight, bias = operands((1, 64, 9, 9), 80)
    for arguments in (
        (input, winograd_weights(weight), bias, 80, True),
        (input, winograd_weights(weight), None, 80, False),
    ):
        torch.library.opcheck(torch.ops.fastmrcnn.winograd_conv3x3.default, arguments)


@pytest.fixture
def conv() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(64, 80, 3, padding=1).requires_grad_(False)


def test_the_layer_computes_as_the_convolution_that_it_was_made_of(conv: nn.Conv2d) -> None:
    layer, image = WinogradConv2d(conv), torch.randn(1, 64, 40, 40)
    assert_near(layer(image), conv(image))
    assert_near(layer(image, relu=True), conv(image).relu())
    assert not torch.equal(layer(image), conv(image))  # it was filtered
    assert layer.state_dict().keys() == conv.state_dict().keys()
    assert torch.equal(copy.deepcopy(layer)(image), layer(image))
    assert repr(layer).startswith("WinogradConv2d(64, 80, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1)")


def test_the_layer_leaves_to_torch_what_it_cannot_do(conv: nn.Conv2d) -> None:
    image = torch.randn(1, 64, 40, 40)
    tiny = image[:, :, :9, :9]
    assert torch.equal(WinogradConv2d(conv)(tiny, relu=True), F.relu(conv(tiny)))
    wanted = image.clone().requires_grad_()
    WinogradConv2d(conv)(wanted).sum().backward()
    assert wanted.grad is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(WinogradConv2d(conv)(image), conv(image))
    double = copy.deepcopy(conv).double()
    assert torch.equal(WinogradConv2d(conv).double()(image.double()), double(image.double()))


def test_weights_are_transformed_when_they_are_needed(conv: nn.Conv2d) -> None:
    layer, image = WinogradConv2d(conv), torch.randn(1, 64, 40, 40)
    layer(image[:, :, :9, :9])
    assert layer.points is None
    with torch.inference_mode():
        layer(image)
    assert layer.points is not None
    assert layer.points.nbytes == layer.transformed_bytes
    assert not layer.points.is_inference()


def test_the_compiler_takes_the_layer_as_one_operator(conv: nn.Conv2d) -> None:
    layer, image = WinogradConv2d(conv), torch.randn(1, 64, 40, 40)
    expected = layer(image)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(image), expected)
    untransformed = torch.compile(WinogradConv2d(conv), fullgraph=True, backend="aot_eager")
    assert torch.equal(untransformed(image), conv(image))


def test_which_convolutions_it_suits() -> None:
    assert suits_winograd(nn.Conv2d(64, 80, 3))
    assert not suits_winograd(nn.Conv2d(32, 64, 3))
    assert not suits_winograd(nn.Conv2d(64, 72, 3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input": np.zeros((1, 4, 4, 16), np.float64)}, "input must be float32; got float64"),
        ({"output": np.zeros((1, 4, 5, 16), np.float32)}, r"output must be \[N, K, H, W\] with N, H and W those of"),
        ({"weights": np.zeros((1, 36, 32, 32), np.float32)}, r"weights must be \[ceil\(K / 32\), 36, C, 32\]"),
        ({"bias": np.zeros(8, np.float32)}, r"bias must be \[C\] with C that of output; got \[8\]"),
        ({"workspace": np.zeros((1, 0, 36 * 48), np.float32)}, "workspace must not be empty"),
        ({"workspace": np.zeros((1, 1, 36), np.float32)}, r"workspace must be \[threads, tiles, 36 \* \(C \+ 32\)\]"),
    ],
)
def test_what_the_native_operator_refuses(changed: dict[str, np.ndarray], message: str) -> None:
    arguments = {
        "input": np.zeros((1, 4, 4, 16), np.float32),
        "weights": np.zeros((1, 36, 16, 32), np.float32),
        "bias": np.zeros(16, np.float32),
        "workspace": np.zeros((1, 1, 36 * 48), np.float32),
        "output": np.zeros((1, 4, 4, 16), np.float32),
    } | changed
    input, output = (arguments[name].transpose(0, 3, 1, 2) for name in ("input", "output"))
    with pytest.raises(ValueError, match=f"^winograd_convolution: {message}"):
        _C.winograd_convolution(
            (1, 0), input, arguments["weights"], arguments["bias"], False, arguments["workspace"], output
        )
